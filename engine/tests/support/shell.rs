//! Apache Kafka's command-line tools in one JVM, called one after the other.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use super::tools;

/// One JVM that runs tool after tool; see `clients/java/Tools.java`.
pub struct Shell {
    jvm: Child,
    input: ChildStdin,
    answers: Receiver<Answer>,
    pub bootstrap: String,
    pub calls: usize,
}

pub struct Answer {
    pub call: String,
    pub status: i32,
    pub out: String,
    pub err: String,
}

impl Answer {
    pub fn ok(self) -> Answer {
        assert_eq!(self.status, 0, "{}\n{}\n{}", self.call, self.out, self.err);
        self
    }

    pub fn fails(self, why: &str) -> Answer {
        assert_ne!(self.status, 0, "{} should fail\n{}", self.call, self.out);
        assert!(
            self.out.contains(why) || self.err.contains(why),
            "{}: no {why:?}\n{}\n{}",
            self.call,
            self.out,
            self.err
        );
        self
    }

    pub fn says(self, text: &str) -> Answer {
        assert!(
            self.out.contains(text),
            "{} does not say {text:?}\n{}\n{}",
            self.call,
            self.out,
            self.err
        );
        self
    }

    /// The words of the line that begins with these words.
    pub fn row(&self, begins: &[&str]) -> Vec<String> {
        self.out
            .lines()
            .map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
            .find(|words| words.iter().zip(begins).filter(|(a, b)| a == b).count() == begins.len())
            .unwrap_or_else(|| panic!("{}: no row {begins:?}\n{}\n{}", self.call, self.out, self.err))
    }
}

impl Shell {
    pub fn start(program: &tools::Program, bootstrap: &str) -> Shell {
        let mut command: Command = program.command(&[]);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut jvm = command.spawn().expect("java");
        let input = jvm.stdin.take().expect("piped");
        let mut from = BufReader::new(jvm.stdout.take().expect("piped"));
        let (send, answers) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            while from.read_line(&mut line).is_ok_and(|n| n > 0) {
                let word: Vec<&str> = line.split_whitespace().collect();
                assert_eq!(word.first(), Some(&"RESULT"), "the JVM said {line:?}");
                let mut text = |bytes: &str| {
                    let mut buffer = vec![0; bytes.parse().expect("a length")];
                    from.read_exact(&mut buffer).expect("output");
                    String::from_utf8_lossy(&buffer).into_owned()
                };
                let (out, err) = (text(word[2]), text(word[3]));
                let status = word[1].parse().expect("a status");
                let _ = send.send(Answer {
                    call: String::new(),
                    status,
                    out,
                    err,
                });
                line.clear();
            }
        });
        Shell {
            jvm,
            input,
            answers,
            bootstrap: bootstrap.to_owned(),
            calls: 0,
        }
    }

    /// Calls a tool with `--bootstrap-server` and these arguments (split at spaces), and bytes as its standard input.
    pub fn feed(&mut self, class: &str, args: &str, input: &[u8]) -> Answer {
        let class = if class.contains('.') && !class.starts_with("consumer.") {
            class.to_owned()
        } else {
            format!("org.apache.kafka.tools.{class}")
        };
        let mut list: Vec<&str> = args.split_whitespace().collect();
        // ClusterTool's verb comes first.
        let at = usize::from(class.ends_with("ClusterTool"));
        list.splice(at..at, ["--bootstrap-server", &self.bootstrap]);
        let mut call = format!("CALL {class} {} {}\n", list.len(), input.len()).into_bytes();
        for arg in &list {
            call.extend_from_slice(arg.as_bytes());
            call.push(b'\n');
        }
        call.extend_from_slice(input);
        self.input.write_all(&call).expect("the JVM listens");
        self.input.flush().expect("the JVM listens");
        self.calls += 1;
        let what = format!("{class} {}", list.join(" "));
        let mut answer = self
            .answers
            .recv_timeout(Duration::from_secs(90))
            .unwrap_or_else(|error| panic!("{what} gave no answer within 90 s: {error}"));
        answer.call = what;
        answer
    }

    pub fn call(&mut self, class: &str, args: &str) -> Answer {
        self.feed(class, args, b"")
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.jvm.kill();
        let _ = self.jvm.wait();
    }
}
