//! Arguments, logger, exit codes: nothing else.

use std::process::ExitCode;

use clap::Parser;
use hepalert::cli::{Arguments, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match failure.code {
                Some(code) => eprintln!("refused ({code}): {:#}", failure.error),
                None => eprintln!("error: {:#}", failure.error),
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}
