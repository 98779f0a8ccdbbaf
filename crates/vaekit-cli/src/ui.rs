//! How the program talks: results to stdout, as text or JSON; notes and progress to stderr.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use crate::args::OutputArgs;
use crate::failure;

/// Where a command's words go.
#[derive(Clone, Debug)]
pub struct Ui {
    json: bool,
    quiet: bool,
    verbose: bool,
    /// Whether a result was printed, which may be a document that no second one may follow.
    printed: Arc<AtomicBool>,
}

impl Ui {
    /// As the command line asks.
    pub fn new(args: &OutputArgs) -> Self {
        Ui { json: args.json, quiet: args.quiet, verbose: args.verbose > 0, printed: Arc::default() }
    }

    /// A Ui that prints results and errors only.
    pub fn quiet() -> Self {
        Ui { json: false, quiet: true, verbose: false, printed: Arc::default() }
    }

    /// Prints a command's result: one JSON object, or its text.
    ///
    /// # Errors
    /// If stdout is closed.
    pub fn print<T: Serialize + Display>(&self, result: &T) -> Result<()> {
        let mut stdout = io::stdout().lock();
        self.printed.store(true, Ordering::Relaxed);
        if self.json {
            serde_json::to_writer_pretty(&mut stdout, result)?;
            writeln!(stdout)?;
        } else {
            writeln!(stdout, "{}", result.to_string().trim_end())?;
        }
        Ok(())
    }

    /// Says something a person should know; not in quiet mode.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            eprintln!("{text}");
        }
    }

    /// Says something only the curious want to know.
    pub fn detail(&self, text: impl Display) {
        if self.verbose {
            eprintln!("{text}");
        }
    }

    /// Says why a command failed: a line on stderr, or the one JSON object on stdout, unless the result is there, which says
    /// it too.
    pub fn error(&self, error: &anyhow::Error) {
        if self.json && !self.printed.load(Ordering::Relaxed) {
            println!(
                "{}",
                serde_json::json!({ "error": format!("{error:#}"), "exit_code": failure::exit_code(error) })
            );
        } else {
            eprintln!("error: {error:#}");
        }
    }

    /// A bar for work of a known length, on a terminal only.
    pub fn bar(&self, label: &str, length: u64) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), self.target());
        bar.with_style(bar_style()).with_message(label.to_owned())
    }

    /// A bar for bytes that come from elsewhere, whose number may become known later; on a terminal only.
    pub fn transfer(&self, label: &str) -> ProgressBar {
        let template = "{msg:28!} {wide_bar:.cyan/dim} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}  {eta} left";
        let bar = ProgressBar::with_draw_target(None, self.target());
        bar.with_style(style(template)).with_message(label.to_owned())
    }

    /// A spinner for work of unknown length, on a terminal only.
    pub fn spinner(&self, label: &str) -> ProgressBar {
        let spinner = ProgressBar::with_draw_target(None, self.target());
        let spinner = spinner.with_style(style("{spinner} {msg} {elapsed}")).with_message(label.to_owned());
        spinner.enable_steady_tick(Duration::from_millis(120));
        spinner
    }

    fn target(&self) -> ProgressDrawTarget {
        if self.quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() }
    }
}

/// What a bar looks like.
pub(crate) fn bar_style() -> ProgressStyle {
    style("{msg:28} {wide_bar:.cyan/dim} {percent:>3} %  {eta} left")
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is valid")
}

/// Seconds that each stage of a command took, in order.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Stages(serde_json::Map<String, serde_json::Value>);

impl Stages {
    /// Runs one stage; stages of the same name add up.
    pub fn time<T>(&mut self, stage: &str, run: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = run();
        self.add(stage, begin.elapsed());
        result
    }

    /// Adds to a stage.
    pub fn add(&mut self, stage: &str, duration: Duration) {
        self.0.insert(stage.to_owned(), (self.seconds(stage) + duration.as_secs_f64()).into());
    }

    /// Seconds of one stage so far.
    pub fn seconds(&self, stage: &str) -> f64 {
        self.0.get(stage).and_then(serde_json::Value::as_f64).unwrap_or(0.0)
    }
}

impl Stages {
    /// These stages, then those.
    pub fn then(mut self, later: Stages) -> Stages {
        self.0.extend(later.0);
        self
    }

    /// Seconds of all stages.
    pub fn total(&self) -> f64 {
        self.0.keys().map(|stage| self.seconds(stage)).sum()
    }
}

impl Display for Stages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stages: Vec<String> = self.0.keys().map(|stage| format!("{stage} {:.2} s", self.seconds(stage))).collect();
        f.write_str(&stages.join(", "))
    }
}
