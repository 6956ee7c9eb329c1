//! One pipe that guard, victims and hooks all write lines to: what stands first
//! in it happened first.

use super::wait::{PATIENCE, is_readable};
use std::io::{PipeReader, PipeWriter, Read, pipe};
use std::os::fd::AsRawFd as _;
use std::process::Stdio;
use std::time::Instant;

pub struct Journal {
    reader: PipeReader,
    writer: PipeWriter,
    unread: Vec<u8>,
    lines: Vec<String>,
}

impl Journal {
    pub fn new() -> Self {
        let (reader, writer) = pipe().expect("pipe");
        Self { reader, writer, unread: Vec::new(), lines: Vec::new() }
    }

    /// For somebody's standard error.
    pub fn pen(&self) -> Stdio {
        self.writer().into()
    }

    pub fn writer(&self) -> PipeWriter {
        self.writer.try_clone().expect("dup")
    }

    /// The next line that holds `part`, passing over others. In a row, calls
    /// say in what order lines have to come.
    pub fn expect(&mut self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        while let Some(line) = self.next_line(deadline) {
            if line.contains(part) {
                return line;
            }
        }
        panic!("no {part:?} after\n{}", self.lines.join("\n"));
    }

    /// Everything written so far, from the beginning.
    pub fn lines(&mut self) -> &[String] {
        while self.next_line(Instant::now()).is_some() {}
        &self.lines
    }

    /// How many lines so far hold `part`?
    pub fn count(&mut self, part: &str) -> usize {
        self.lines().iter().filter(|line| line.contains(part)).count()
    }

    /// Panics if any line so far holds `part`.
    pub fn expect_none(&mut self, part: &str) {
        assert_eq!(self.count(part), 0, "{part:?} in\n{}", self.lines.join("\n"));
    }

    fn next_line(&mut self, deadline: Instant) -> Option<String> {
        loop {
            if let Some(end) = self.unread.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line[..end]).into_owned();
                self.lines.push(line.clone());
                return Some(line);
            }
            if !is_readable(self.reader.as_raw_fd(), deadline.saturating_duration_since(Instant::now())) {
                return None;
            }
            let mut buf = [0; 4096];
            let len = self.reader.read(&mut buf).expect("read");
            self.unread.extend_from_slice(&buf[..len]);
        }
    }
}

impl Drop for Journal {
    /// What a failed test leaves behind is what it failed on.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("journal:\n{}", self.lines().join("\n"));
        }
    }
}
