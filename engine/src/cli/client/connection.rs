//! One connection to one broker: frames out, frames in, versions negotiated once.
//!
//! Blocking, with a deadline on every call. After any failure the connection is spent; the owner drops it.

use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use turgo_net::header::ResponseHeader;
use turgo_net::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use turgo_net::wire::Decode;
use turgo_net::{ApiKey, ErrorCode, Reader, encode_request};

use super::api::{Api, ApiVersions};
use super::error::ClientError;
use crate::cli::sys::{self, interrupted};

/// Largest answer accepted; a broker's answer to our own bounded fetches stays far below.
const MAX_ANSWER_BYTES: usize = 1 << 30;
/// Memory for an answer grows by what arrives, in steps of at most this.
const READ_STEP_BYTES: usize = 1 << 20;
/// How often a waiting call looks whether the user wants out.
const INTERRUPT_POLL: Duration = Duration::from_millis(200);

/// An API as a broker serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Key, perhaps one unknown here.
    pub key: i16,
    /// First version.
    pub min: i16,
    /// Last version.
    pub max: i16,
}

/// A connection whose broker has told what it serves.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    name: String,
    client_id: String,
    next_correlation: i32,
    served: Vec<Served>,
}

/// A request on its way.
#[derive(Debug)]
#[must_use = "the answer must be received before the next one"]
pub struct Sent<A: Api> {
    correlation: i32,
    version: i16,
    api: PhantomData<A>,
}

/// An answer: the frame, and what is needed to read it.
#[derive(Debug)]
pub struct Reply<A: Api> {
    frame: Vec<u8>,
    version: i16,
    broker: String,
    api: PhantomData<A>,
}

impl<A: Api> Reply<A> {
    /// The decoded body, borrowed from the frame.
    pub fn body(&self) -> Result<A::Response<'_>, ClientError> {
        let mut r = Reader::new(&self.frame);
        ResponseHeader::decode(&mut r, A::KEY, self.version)
            .and_then(|_| <A::Response<'_> as Decode>::decode(&mut r, self.version))
            .map_err(|error| ClientError::decode(&self.broker, A::KEY, error))
    }

    /// Version of the exchange.
    pub fn version(&self) -> i16 {
        self.version
    }
}

impl Connection {
    /// Connects to `host:port` and asks for the served versions.
    pub fn open(host: &str, port: u16, client_id: &str, deadline: Instant) -> Result<Self, ClientError> {
        let name = if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        };
        let addresses = (host, port).to_socket_addrs().map_err(|error| {
            ClientError::Unreachable(format!("cannot find the address of {host}: {error}"))
        })?;
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            let left = deadline
                .saturating_duration_since(sys::now())
                .max(Duration::from_millis(1));
            match TcpStream::connect_timeout(&address, left) {
                Ok(stream) => {
                    // Requests are whole writes; waiting for more would only add delay.
                    let _ = stream.set_nodelay(true);
                    let mut connection = Connection {
                        stream,
                        name,
                        client_id: client_id.to_string(),
                        next_correlation: 1,
                        served: Vec::new(),
                    };
                    connection.negotiate(deadline)?;
                    return Ok(connection);
                }
                Err(error) => last = error,
            }
        }
        Err(ClientError::Unreachable(format!(
            "cannot connect to {name}: {last}"
        )))
    }

    /// `HOST:PORT`, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the broker serves.
    pub fn served(&self) -> &[Served] {
        &self.served
    }

    /// The version to use for `A`; `None` when broker and client have none in common.
    pub fn version<A: Api>(&self) -> Option<i16> {
        let served = self
            .served
            .iter()
            .find(|served| served.key == i16::from(A::KEY))?;
        let known = A::KEY.valid_versions();
        let newest = known.max.min(A::CAP).min(served.max);
        (newest >= known.min.max(served.min)).then_some(newest)
    }

    /// Asks at the newest version known here; a broker that knows only older ones answers with error 35 in
    /// version 0, mostly with its range, and is asked again (KIP-511).
    fn negotiate(&mut self, deadline: Instant) -> Result<(), ClientError> {
        let mut version = ApiVersions::CAP;
        loop {
            let request = ApiVersionsRequest {
                client_software_name: "turgo".into(),
                client_software_version: env!("CARGO_PKG_VERSION").into(),
            };
            let request = if version >= 3 {
                request
            } else {
                ApiVersionsRequest::default()
            };
            let sent = self.send_version::<ApiVersions>(version, &request, deadline)?;
            let frame = self.receive_frame(sent.correlation, ApiKey::ApiVersions, deadline)?;
            let refused = frame.get(4..6).map(|code| i16::from_be_bytes([code[0], code[1]]))
                == Some(ErrorCode::UNSUPPORTED_VERSION.0);
            let understood = if refused { 0 } else { version };
            let mut r = Reader::new(&frame);
            let answer = ResponseHeader::decode(&mut r, ApiKey::ApiVersions, understood)
                .and_then(|_| ApiVersionsResponse::decode(&mut r, understood))
                .map_err(|error| ClientError::decode(&self.name, ApiKey::ApiVersions, error))?;
            if refused && version > 0 {
                let own = answer
                    .api_keys
                    .iter()
                    .find(|api| api.api_key == i16::from(ApiKey::ApiVersions));
                version = own.map_or(0, |api| api.max_version.clamp(0, version - 1));
                continue;
            }
            if answer.error_code != 0 {
                let why = super::error::refusal(answer.error_code, None);
                return Err(ClientError::Protocol {
                    broker: self.name.clone(),
                    why,
                });
            }
            self.served = answer
                .api_keys
                .iter()
                .map(|api| Served {
                    key: api.api_key,
                    min: api.min_version,
                    max: api.max_version,
                })
                .collect();
            return Ok(());
        }
    }

    /// Sends a request built for the version in common, and waits for its answer.
    pub fn call<'r, A: Api>(
        &mut self,
        deadline: Instant,
        request: impl FnOnce(i16) -> A::Request<'r>,
    ) -> Result<Reply<A>, ClientError> {
        let sent = self.send::<A>(deadline, request)?;
        self.receive(sent, deadline)
    }

    /// Sends without waiting. Answers must be received in the order of sending.
    pub fn send<'r, A: Api>(
        &mut self,
        deadline: Instant,
        request: impl FnOnce(i16) -> A::Request<'r>,
    ) -> Result<Sent<A>, ClientError> {
        let Some(version) = self.version::<A>() else {
            return Err(ClientError::Unsupported {
                broker: self.name.clone(),
                api: A::KEY.name(),
            });
        };
        self.send_version(version, &request(version), deadline)
    }

    fn send_version<A: Api>(
        &mut self,
        version: i16,
        request: &A::Request<'_>,
        deadline: Instant,
    ) -> Result<Sent<A>, ClientError> {
        let correlation = self.next_correlation;
        self.next_correlation = self.next_correlation.wrapping_add(1).max(1);
        let frame = encode_request(A::KEY, version, correlation, Some(&self.client_id), request)
            .map_err(|error| ClientError::encode(A::KEY, error))?;
        let left = deadline
            .saturating_duration_since(sys::now())
            .max(Duration::from_millis(1));
        let written = self.stream.set_write_timeout(Some(left)).and_then(|()| {
            frame
                .into_parts()
                .iter()
                .try_for_each(|part| self.stream.write_all(part))
        });
        written.map_err(|error| self.failed(A::KEY, error))?;
        Ok(Sent {
            correlation,
            version,
            api: PhantomData,
        })
    }

    /// Waits for the answer to `sent`.
    pub fn receive<A: Api>(&mut self, sent: Sent<A>, deadline: Instant) -> Result<Reply<A>, ClientError> {
        let frame = self.receive_frame(sent.correlation, A::KEY, deadline)?;
        Ok(Reply {
            frame,
            version: sent.version,
            broker: self.name.clone(),
            api: PhantomData,
        })
    }

    fn receive_frame(
        &mut self,
        correlation: i32,
        api: ApiKey,
        deadline: Instant,
    ) -> Result<Vec<u8>, ClientError> {
        let mut size = [0u8; 4];
        self.fill(&mut size, api, deadline)?;
        let size = i32::from_be_bytes(size);
        let strange = |why: String| ClientError::Protocol {
            broker: self.name.clone(),
            why,
        };
        let size = usize::try_from(size)
            .ok()
            .filter(|size| (4..=MAX_ANSWER_BYTES).contains(size))
            .ok_or_else(|| {
                strange(format!(
                    "an answer claims {size} bytes; is this listener for TLS or HTTP?"
                ))
            })?;
        let mut frame = Vec::with_capacity(size.min(READ_STEP_BYTES));
        while frame.len() < size {
            let start = frame.len();
            frame.resize(size.min(start + READ_STEP_BYTES), 0);
            self.fill(&mut frame[start..], api, deadline)?;
        }
        let answered = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
        if answered != correlation {
            return Err(ClientError::Protocol {
                broker: self.name.clone(),
                why: format!("answer {answered} came where {correlation} was due"),
            });
        }
        Ok(frame)
    }

    fn fill(&mut self, mut room: &mut [u8], api: ApiKey, deadline: Instant) -> Result<(), ClientError> {
        while !room.is_empty() {
            if interrupted() {
                return Err(ClientError::Interrupted);
            }
            let left = deadline.saturating_duration_since(sys::now());
            if left.is_zero() {
                return Err(ClientError::TimedOut {
                    broker: self.name.clone(),
                    api: api.name(),
                });
            }
            let wait = left.min(INTERRUPT_POLL).max(Duration::from_millis(1));
            let read = self
                .stream
                .set_read_timeout(Some(wait))
                .and_then(|()| self.stream.read(room));
            match read {
                Ok(0) => return Err(self.failed(api, io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(n) => room = &mut room[n..],
                Err(error) => match error.kind() {
                    // The loop looks at deadline and interrupt.
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                    _ => return Err(self.failed(api, error)),
                },
            }
        }
        Ok(())
    }

    fn failed(&self, api: ApiKey, error: io::Error) -> ClientError {
        let broker = self.name.clone();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::TimedOut {
                broker,
                api: api.name(),
            },
            io::ErrorKind::UnexpectedEof => ClientError::Lost {
                broker,
                api: api.name(),
                why: "closed by the other side".into(),
            },
            _ => ClientError::Lost {
                broker,
                api: api.name(),
                why: error.to_string(),
            },
        }
    }
}
