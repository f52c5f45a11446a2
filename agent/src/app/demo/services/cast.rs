//! The processes of the demo, from start to end.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::model::exit::Failure;

/// How long after their time the clients may take to end.
const GRACE: Duration = Duration::from_secs(15);

/// A service or the clients; ended when let go of.
struct Actor {
    name: &'static str,
    child: Child,
    said: BufReader<std::process::ChildStdout>,
}

/// What the processes say they did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Did {
    /// Requests made by the clients.
    pub made: u64,
    /// Calls made by the clients.
    pub called: u64,
    /// Requests served by the shop.
    pub shop_served: u64,
    /// Requests that the shop made to the stock.
    pub shop_asked: u64,
    /// Requests served by the stock.
    pub stock_served: u64,
    /// Calls served by the prices.
    pub prices_served: u64,
}

/// All processes of the demo.
pub struct Cast {
    stock: Actor,
    shop: Actor,
    prices: Actor,
    client: Actor,
    last_call: Instant,
}

impl Cast {
    /// Starts the services, and clients that wait for [`Self::begin`].
    ///
    /// # Errors
    /// A process cannot be started, or does not say where it is.
    pub fn start(duration: Duration) -> Result<Self, Failure> {
        let mut stock = Actor::start("stock", &["demo-service", "stock"])?;
        let stock_address = stock.line()?;
        let mut shop = Actor::start("shop", &["demo-service", "shop", "--stock", &stock_address])?;
        let shop_address = shop.line()?;
        let mut prices = Actor::start("prices", &["demo-service", "prices"])?;
        let prices_address = prices.line()?;
        let duration_text = format!("{}ms", duration.as_millis());
        let client = Actor::start(
            "customers",
            &[
                "demo-client",
                &shop_address,
                "--prices",
                &prices_address,
                "--duration",
                &duration_text,
            ],
        )?;
        Ok(Self {
            stock,
            shop,
            prices,
            client,
            last_call: Instant::now() + duration + GRACE,
        })
    }

    /// Process ids: stock, shop, prices, clients.
    #[must_use]
    pub fn pids(&self) -> [u32; 4] {
        [&self.stock, &self.shop, &self.prices, &self.client].map(|actor| actor.child.id())
    }

    /// Lets the clients begin.
    ///
    /// # Errors
    /// They are gone.
    pub fn begin(&mut self) -> Result<(), Failure> {
        let input = self.client.child.stdin.as_mut();
        let told = input.map_or(Ok(()), |input| input.write_all(b"\n"));
        told.map_err(|error| self.client.failed(error))
    }

    /// Whether the clients are still at it.
    ///
    /// # Errors
    /// They failed, or do not come to an end.
    pub fn is_playing(&mut self) -> Result<bool, Failure> {
        match self.client.child.try_wait() {
            Ok(Some(status)) if status.success() => Ok(false),
            Ok(Some(status)) => Err(self.client.failed(status)),
            Ok(None) if Instant::now() > self.last_call => {
                Err(self.client.failed("they do not come to an end"))
            }
            Ok(None) => Ok(true),
            Err(error) => Err(self.client.failed(error)),
        }
    }

    /// Ends the services, and asks everyone what they did.
    ///
    /// # Errors
    /// Someone does not say.
    pub fn end(mut self) -> Result<Did, Failure> {
        let [made, called] = self.client.numbers()?;
        let [shop_served, shop_asked] = self.shop.end()?;
        let [stock_served, _] = self.stock.end()?;
        let [prices_served, _] = self.prices.end()?;
        Ok(Did {
            made,
            called,
            shop_served,
            shop_asked,
            stock_served,
            prices_served,
        })
    }
}

impl Actor {
    /// Starts this program under another service name.
    fn start(name: &'static str, args: &[&str]) -> Result<Self, Failure> {
        let failed = |problem: &dyn std::fmt::Display| {
            Failure::failed(format!("the demo's {name} cannot be started: {problem}"))
        };
        let mut child = Command::new("/proc/self/exe")
            .args(args)
            .env("OTEL_SERVICE_NAME", name)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let said = child.stdout.take().ok_or_else(|| failed(&"no pipe"))?;
        Ok(Self {
            name,
            child,
            said: BufReader::new(said),
        })
    }

    fn failed(&self, problem: impl std::fmt::Display) -> Failure {
        Failure::failed(format!("the demo's {} failed: {problem}", self.name))
    }

    fn line(&mut self) -> Result<String, Failure> {
        let mut line = String::new();
        match (&mut self.said).take(256).read_line(&mut line) {
            Ok(0) => Err(self.failed("it said nothing")),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn numbers<const N: usize>(&mut self) -> Result<[u64; N], Failure> {
        let line = self.line()?;
        let numbers: Vec<u64> = line
            .split(' ')
            .filter_map(|word| word.parse().ok())
            .collect();
        numbers
            .try_into()
            .map_err(|_| self.failed(format!("it said '{line}'")))
    }

    /// Ends a service by ending its input; it says what it did.
    fn end(&mut self) -> Result<[u64; 2], Failure> {
        drop(self.child.stdin.take());
        self.numbers()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        // All of them end with their input, but for clients in the middle of it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
