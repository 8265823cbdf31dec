//! Questions at a terminal.

use std::io::{self, BufRead, Write};

use crate::init::Question;
use crate::model::RoleArn;
use crate::model::escape::one_line;

/// Asks, and reads one line for each answer. An empty line is the default, and what is no answer is asked again. An end of the
/// input (Ctrl-D) is an error: nobody has agreed to anything.
pub(super) struct Asker<R, W> {
    answers: R,
    screen: W,
}

impl<R: BufRead, W: Write> Asker<R, W> {
    pub(super) fn new(answers: R, screen: W) -> Self {
        Self { answers, screen }
    }

    /// The answer to a question that ends with this. `None` where the default is taken.
    fn answer<T>(&mut self, prompt: &str, read: impl Fn(&str) -> Result<T, String>) -> io::Result<Option<T>> {
        loop {
            write!(self.screen, "{prompt} ")?;
            self.screen.flush()?;
            let mut line = String::new();
            let end = self.answers.read_line(&mut line)? == 0;
            match line.trim() {
                "" if end => {
                    writeln!(self.screen)?;
                    let why = "the input ended before an answer: nothing was written; --yes asks nothing";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                "" => return Ok(None),
                said => match read(said) {
                    Ok(answer) => return Ok(Some(answer)),
                    Err(why) => writeln!(self.screen, "{}", one_line(&why))?,
                },
            }
        }
    }

    /// The index of the container that is meant: its number or its name was said.
    pub(super) fn which(&mut self, question: &Question) -> io::Result<usize> {
        writeln!(self.screen, "Which container of {} is released?", question.target)?;
        for (number, (name, image)) in (1..).zip(&question.options) {
            writeln!(self.screen, "  {number}  {}  {}", one_line(name), one_line(image))?;
        }
        let read = |line: &str| {
            let said = |(number, (name, _)): (usize, &(String, String))| line == number.to_string() || line == *name;
            let index = (1..).zip(&question.options).position(said);
            index.ok_or_else(|| format!("`{line}` is none of them: say its number or its name"))
        };
        Ok(self.answer(&format!("[{}]", question.guess + 1), read)?.unwrap_or(question.guess))
    }

    /// The role to assume: an ARN, or the name of a role in the same account.
    pub(super) fn role(&mut self, guess: &RoleArn) -> io::Result<RoleArn> {
        writeln!(
            self.screen,
            "Which role does Pinion assume in account {}? It needn't be there yet.",
            guess.account()
        )?;
        let read = |line: &str| {
            let role = match line.starts_with("arn:") {
                true => RoleArn::try_from(line.to_owned()),
                false => guess.renamed(line),
            };
            let role = role.map_err(|invalid| invalid.to_string())?;
            match role.account() == guess.account() {
                true => Ok(role),
                false => Err(format!("it has to be a role of account {}", guess.account())),
            }
        };
        Ok(self.answer(&format!("[{guess}]"), read)?.unwrap_or_else(|| guess.clone()))
    }

    /// Whether the answer is yes, which it is if none is given.
    pub(super) fn agree(&mut self, question: &str) -> io::Result<bool> {
        let read = |line: &str| match line.to_ascii_lowercase().as_str() {
            "y" | "yes" => Ok(true),
            "n" | "no" => Ok(false),
            _ => Err(format!("`{line}` is neither yes nor no")),
        };
        Ok(self.answer(&format!("{question} [Y/n]"), read)?.unwrap_or(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LocalRef;

    /// What comes of what is typed, and the screen.
    fn with<T>(typed: &str, ask: impl Fn(&mut Asker<&[u8], &mut Vec<u8>>) -> io::Result<T>) -> (io::Result<T>, String) {
        let mut screen = Vec::new();
        let answer = ask(&mut Asker::new(typed.as_bytes(), &mut screen));
        (answer, String::from_utf8(screen).unwrap())
    }

    #[test]
    fn an_answer_is_a_number_or_a_name_and_an_empty_line_is_the_guess() {
        let question = Question {
            target: LocalRef::try_from("fargate/api".to_owned()).unwrap(),
            options: vec![("envoy".to_owned(), "envoy:1".to_owned()), ("app".to_owned(), "api:2".to_owned())],
            guess: 1,
        };
        let asked = "Which container of fargate/api is released?\n  1  envoy  envoy:1\n  2  app  api:2\n[2] ";
        for (typed, index) in [("1\n", 0), ("envoy\n", 0), ("2", 1), ("\n", 1)] {
            let (answer, screen) = with(typed, |asker| asker.which(&question));
            assert_eq!((answer.unwrap(), screen), (index, asked.to_owned()), "{typed}");
        }
        let (answer, screen) = with("9\nenvoy\n", |asker| asker.which(&question));
        let again = "`9` is none of them: say its number or its name\n[2] ";
        assert_eq!((answer.unwrap(), screen), (0, asked.to_owned() + again));
        for (typed, agreed) in [("\n", true), ("Y\n", true), ("yes\n", true), ("n\n", false), ("?\nno\n", false)] {
            let (answer, screen) = with(typed, |asker| asker.agree("Write?"));
            assert_eq!(answer.unwrap(), agreed, "{typed}");
            assert!(
                screen.starts_with("Write? [Y/n] ") && screen.contains("neither") == typed.contains('?'),
                "{screen}"
            );
        }
    }

    #[test]
    fn a_role_is_an_arn_or_a_name_and_of_the_account() {
        let guess: RoleArn = "arn:aws:iam::222222222222:role/pinion".parse().unwrap();
        let of = |name: &str| format!("arn:aws:iam::222222222222:role/{name}");
        for (typed, role) in [
            ("\n", of("pinion")),
            ("teams/deploy\n", of("teams/deploy")),
            ("arn:aws:iam::222222222222:role/deploy\n", of("deploy")),
            ("arn:aws:iam::444444444444:role/deploy\ndeploy\n", of("deploy")),
            ("not a name\n\n", of("pinion")),
        ] {
            let (answer, screen) = with(typed, |asker| asker.role(&guess));
            assert_eq!(answer.unwrap().as_str(), role, "{typed} {screen}");
        }
    }

    #[test]
    fn the_end_of_the_input_agrees_to_nothing() {
        let (answer, _) = with("", |asker| asker.agree("Write?"));
        assert!(answer.unwrap_err().to_string().contains("nothing was written"));
    }
}
