//! A wire to a gateway that can be cut, or go dead without a word.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use std::io::{Read, Write};

#[derive(Default)]
struct Shared {
    open: Mutex<Vec<TcpStream>>,
    /// When connections were cut.
    cuts: Mutex<Vec<Instant>>,
    /// Connections made before this number lead nowhere.
    dead: AtomicUsize,
    connections: AtomicUsize,
    refuses: AtomicBool,
}

/// Ends with the process; its threads end with their connections.
pub(crate) struct Wire {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Wire {
    /// Leads to `gateway`.
    pub(crate) fn to(gateway: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let state = Arc::clone(&shared);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let number = state.connections.fetch_add(1, Ordering::SeqCst);
                let far = TcpStream::connect(gateway);
                let (false, Ok(far)) = (state.refuses.load(Ordering::SeqCst), far) else {
                    reset(&near);
                    continue;
                };
                let mut open = state.open.lock().unwrap();
                open.push(near.try_clone().unwrap());
                open.push(far.try_clone().unwrap());
                drop(open);
                for (from, to) in [
                    (near.try_clone().unwrap(), far.try_clone().unwrap()),
                    (far, near),
                ] {
                    let state = Arc::clone(&state);
                    std::thread::spawn(move || pass(from, to, number, &state));
                }
            }
        });
        Self { address, shared }
    }

    /// Resets all connections.
    pub(crate) fn cut(&self) {
        self.shared.cuts.lock().unwrap().push(Instant::now());
        for stream in self.shared.open.lock().unwrap().drain(..) {
            reset(&stream);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // Whoever sends meanwhile is cut off as well.
        self.shared.cuts.lock().unwrap().push(Instant::now());
    }

    /// Whether a new connection is refused.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.shared.refuses.store(refuses, Ordering::SeqCst);
    }

    /// From now on what comes over connections that are open is swallowed: they look alive.
    pub(crate) fn die(&self) {
        let now = self.shared.connections.load(Ordering::SeqCst);
        self.shared.dead.store(now, Ordering::SeqCst);
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn cuts(&self) -> Vec<Instant> {
        self.shared.cuts.lock().unwrap().clone()
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, number: usize, state: &Shared) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if number < state.dead.load(Ordering::SeqCst) {
            continue;
        }
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    if number >= state.dead.load(Ordering::SeqCst) {
        let _ = to.shutdown(std::net::Shutdown::Write);
    } else {
        // Also that it ended is not passed on.
        std::thread::sleep(Duration::from_secs(120));
    }
}

/// Closing it will send RST, not FIN.
fn reset(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the descriptor is open, and the option is a `linger` of this size.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as u32,
        )
    };
    assert_eq!(set, 0);
}
