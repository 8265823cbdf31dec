//! Questions at a terminal.

use std::io::{self, BufRead, Write};

use crate::init::Question;
use crate::model::escape::one_line;

/// Asks, and reads one line for each answer. What can't be read, or isn't an answer, is the default.
pub(super) struct Asker<R, W> {
    answers: R,
    screen: W,
}

impl<R: BufRead, W: Write> Asker<R, W> {
    pub(super) fn new(answers: R, screen: W) -> Self {
        Self { answers, screen }
    }

    fn line(&mut self) -> io::Result<String> {
        self.screen.flush()?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }

    /// The index of the container that is meant: its number or its name was said.
    pub(super) fn which(&mut self, question: &Question) -> io::Result<usize> {
        writeln!(self.screen, "Which container of {} is released?", question.target)?;
        for (number, (name, image)) in (1..).zip(&question.options) {
            writeln!(self.screen, "  {number}  {}  {}", one_line(name), one_line(image))?;
        }
        write!(self.screen, "[{}] ", question.guess + 1)?;
        let line = self.line()?;
        let said = |(number, (name, _)): (usize, &(String, String))| line == number.to_string() || line == *name;
        let index = (1..).zip(&question.options).position(said);
        Ok(index.unwrap_or(question.guess))
    }

    /// Whether the answer is yes, which it is if none is given.
    pub(super) fn agree(&mut self, question: &str) -> io::Result<bool> {
        write!(self.screen, "{question} [Y/n] ")?;
        let line = self.line()?.to_ascii_lowercase();
        Ok(line.is_empty() || line == "y" || line == "yes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::LocalRef;

    #[test]
    fn an_answer_is_a_number_or_a_name_and_nothing_is_the_guess() {
        let question = Question {
            target: LocalRef::try_from("fargate/api".to_owned()).unwrap(),
            options: vec![("envoy".to_owned(), "envoy:1".to_owned()), ("app".to_owned(), "api:2".to_owned())],
            guess: 1,
        };
        let answer = |said: &str| {
            let mut screen = Vec::new();
            let index = Asker::new(said.as_bytes(), &mut screen).which(&question).unwrap();
            (index, String::from_utf8(screen).unwrap())
        };
        let asked = "Which container of fargate/api is released?\n  1  envoy  envoy:1\n  2  app  api:2\n[2] ";
        for (said, index) in [("1\n", 0), ("envoy\n", 0), ("2", 1), ("\n", 1), ("", 1), ("9\n", 1)] {
            assert_eq!(answer(said), (index, asked.to_owned()), "{said}");
        }
        for (said, agreed) in [("", true), ("\n", true), ("Y\n", true), ("yes\n", true), ("n\n", false), ("?\n", false)]
        {
            let mut screen = Vec::new();
            assert_eq!(Asker::new(said.as_bytes(), &mut screen).agree("Write?").unwrap(), agreed, "{said}");
            assert_eq!(screen, b"Write? [Y/n] ");
        }
    }
}
