//! A service of the standard library only, with a thread for each connection.
//!
//! It ends by itself as it should: at SIGTERM it serves on, says
//! "Connection: close" on every answer, and exits when traffic has stopped and
//! nothing is in flight. With --naive it knows nothing of SIGTERM, and needs
//! evenkeel-run before it.
//!
//!     rustc -O -o server server.rs

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::exit;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

static TERMINATED: AtomicBool = AtomicBool::new(false); // set by the signal handler, which may do no more
static IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);
static REQUESTS: AtomicU64 = AtomicU64::new(0);
static LAST_REQUEST: AtomicU64 = AtomicU64::new(0); // in milliseconds since START
static START: OnceLock<Instant> = OnceLock::new();

extern "C" {
    fn signal(number: i32, handler: usize) -> usize; // of libc, which std links anyway
}

const SIGTERM: i32 = 15;

extern "C" fn on_signal(_: i32) {
    TERMINATED.store(true, SeqCst);
}

fn now() -> u64 {
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}

fn main() {
    now();
    if !env::args().any(|a| a == "--naive") {
        // Before anything slow: a signal during the start must not kill us.
        unsafe { signal(SIGTERM, on_signal as *const () as usize) };
    }
    let port = env::var("PORT").expect("PORT is not set");
    let listener = TcpListener::bind(format!("127.0.0.1:{port}")).expect("listening");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            LAST_REQUEST.store(now(), SeqCst);
            thread::spawn(move || serve(stream));
        }
    });
    while !TERMINATED.load(SeqCst) {
        thread::sleep(Duration::from_millis(20));
    }
    end();
}

/// Balancers go on sending for a while, and nobody says for how long. So this waits
/// for evidence: traffic has stopped for longer than its usual gaps.
fn end() {
    let grace = env::var("EVENKEEL_GRACE_SECONDS").ok().and_then(|s| s.parse::<f64>().ok()).unwrap_or(30.0);
    let (floor, cap) = (2000, (grace * 400.0) as u64); // at least 2 s, at most 40 % of the grace period
    let began = now();
    let gap = began / REQUESTS.load(SeqCst).max(1);
    let quiet = (8 * gap).max(600);
    loop {
        thread::sleep(Duration::from_millis(10));
        let waited = now() - began;
        if waited >= cap || waited >= floor && now() - LAST_REQUEST.load(SeqCst) >= quiet {
            break;
        }
    }
    let last = (grace * 900.0) as u64;
    while IN_FLIGHT.load(SeqCst) > 0 && now() - began < last {
        thread::sleep(Duration::from_millis(10));
    }
    exit(0);
}

/// Serves one connection until either side closes it.
fn serve(stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let Ok(mut out) = stream.try_clone() else { return };
    let mut input = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if input.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        IN_FLIGHT.fetch_add(1, SeqCst);
        REQUESTS.fetch_add(1, SeqCst);
        LAST_REQUEST.store(now(), SeqCst);
        let keep = answer(&line, &mut input, &mut out).unwrap_or(false);
        IN_FLIGHT.fetch_sub(1, SeqCst);
        if !keep {
            return;
        }
    }
}

/// Answers the request that begins with `line`, and says whether another may follow.
fn answer(line: &str, input: &mut BufReader<TcpStream>, out: &mut TcpStream) -> std::io::Result<bool> {
    let (mut length, mut close) = (0, false);
    loop {
        let mut field = String::new();
        if input.read_line(&mut field)? == 0 {
            return Ok(false);
        }
        let field = field.trim().to_ascii_lowercase();
        if field.is_empty() {
            break;
        }
        if let Some(v) = field.strip_prefix("content-length:") {
            length = v.trim().parse().unwrap_or(0);
        }
        close |= field.starts_with("connection:") && field.contains("close");
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    thread::sleep(Duration::from_millis(10)); // what a database would take

    let reply = if line.starts_with("POST ") {
        let text = String::from_utf8_lossy(&body);
        let id = text.split('"').nth(3).unwrap_or("").to_string(); // {"id":"..."}
        // Recorded before it is answered: an answer is a promise.
        let mut stdout = std::io::stdout().lock();
        writeln!(stdout, "{{\"ledger\":\"order\",\"id\":\"{id}\"}}")?;
        stdout.flush()?;
        format!("{{\"id\":\"{id}\"}}")
    } else {
        "{\"price\":42}".to_string()
    };
    close |= TERMINATED.load(SeqCst);
    let connection = if close { "Connection: close\r\n" } else { "" };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n{connection}\r\n", reply.len());
    out.write_all((head + &reply).as_bytes())?;
    Ok(!close)
}
