//! Command lines that make no sense are refused with a word about what is wrong.
#![expect(clippy::unwrap_used, reason = "a test: what fails here fails the test")]

use std::process::Command;

/// What the program says to `arguments`, which must be wrong.
fn refusal(arguments: &str) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-bench"));
    let output = command.args(arguments.split(' ')).output().unwrap();
    // The exit code for a wrong command line.
    assert_eq!(output.status.code(), Some(2), "{arguments}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn none_of_what_is_measured_is_refused() {
    for arguments in [
        "echo -c 0",
        "echo --threads=0",
        "idle -c 0",
        "idle --rounds 0",
        "million -c 0",
        "million --window 0",
        "million --samples 0",
    ] {
        let said = refusal(arguments);
        assert!(said.contains("must be a whole number from 1 to "), "{arguments}: {said}");
    }
    assert!(refusal("million --shards 0").contains("1..=1024"));
    assert!(refusal("million --shards 1025").contains("1..=1024"));
}

#[test]
fn a_time_that_is_none_is_refused() {
    for arguments in [
        "echo --seconds=-1",
        "echo --seconds nan",
        "echo --warm-up inf",
        "idle --settle=-0.1",
        "million --hold NaN",
        "million --settle 1e300",
    ] {
        let said = refusal(arguments);
        assert!(said.contains("a number of seconds from 0 to 3600"), "{arguments}: {said}");
    }
    for arguments in ["echo --seconds 0", "million --hold 0"] {
        assert!(refusal(arguments).contains("more than 0 seconds"), "{arguments}");
    }
}

#[test]
fn a_ping_that_the_gateway_would_refuse_is_refused() {
    assert!(refusal("million --ping 9h").contains("between 1s and 4h"));
}
