//! The program: hands its arguments to the command line room and exits with its code; decides nothing itself.

fn main() {
    std::process::exit(volvisor::cli::main(std::env::args_os().collect()));
}
