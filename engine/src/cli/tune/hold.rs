//! The end of `turgo tune apply --hold`: keeps CPUs awake for as long as the process lives.

use std::io::Write;

use crate::cli::exit::CliError;
use crate::shell::notify;

const DEVICE: &str = "/dev/cpu_dma_latency";

/// Holds the latency limit at 0, tells systemd that the machine is ready, and stays until a signal ends the process. The
/// kernel takes the limit back when the file closes, so there is nothing to undo.
pub fn hold() -> Result<(), CliError> {
    let held = std::fs::OpenOptions::new().write(true).open(DEVICE);
    let held = held.and_then(|mut device| {
        // A 32-bit number in the machine's order: microseconds that waking up may take.
        device.write_all(&0i32.to_ne_bytes())?;
        Ok(device)
    });
    match &held {
        Ok(_) => eprintln!("turgo: CPUs are kept out of deep sleep until this process ends"),
        Err(error) => eprintln!("turgo: {DEVICE}: {error}; CPUs may sleep deeply"),
    }
    notify::tell("READY=1\nSTATUS=Settings are made");
    loop {
        // Wakes for no reason are allowed.
        std::thread::park();
    }
}
