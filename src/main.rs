//! Arguments, logger, exit codes: nothing else.

use std::process::ExitCode;

use clap::Parser;
use hepalert::cli::{Arguments, run};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let json = arguments.json;
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell(json);
            ExitCode::from(failure.exit as u8)
        }
    }
}
