//! Texts without what differs from run to run, for snapshots.

/// What differs from run to run: times, ages, and the ids of commits.
pub(crate) fn masked(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let mut shown = Vec::new();
        for (index, word) in words.iter().enumerate() {
            let is_age = words.get(index + 1).is_some_and(|next| next.trim_end_matches(',') == "old");
            shown.push(if is_age { "AGE".to_owned() } else { mask(word) });
        }
        masked += &shown.join(" ");
        masked.push('\n');
    }
    masked.replace("DATE CLOCK UTC", "TIME")
}

fn mask(word: &str) -> String {
    let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_commit = matches!(bare.len(), 12 | 40)
        && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
        && bare.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_time = bare.len() >= 20 && bare.starts_with("20") && bare.ends_with('Z') && bare.contains('T');
    let is_date = bare.len() == 10 && bare.matches('-').count() == 2 && digits(&bare.replace('-', ""));
    let is_clock = bare.len() == 5 && digits(&bare.replace(':', "")) && bare.contains(':');
    let stands_for = match () {
        () if is_commit => "COMMIT",
        () if is_time => "TIME",
        () if is_date => "DATE",
        () if is_clock => "CLOCK",
        () => return word.to_owned(),
    };
    word.replace(bare, stands_for)
}
