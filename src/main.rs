//! Arguments, logger, exit codes: nothing else.

use std::process::ExitCode;

use hepalert::cli::{parse, run};

fn main() -> ExitCode {
    let arguments = parse();
    let json = arguments.json;
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.tell(json);
            ExitCode::from(failure.exit as u8)
        }
    }
}
