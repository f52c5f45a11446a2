//! The processes of the demo count alike.

use super::remora;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Stdio};

fn start(args: &[&str]) -> Child {
    remora()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn line(child: &mut Child) -> String {
    let mut line = String::new();
    // The child prints one line at a time and nothing behind it.
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    line.trim().to_owned()
}

fn counts(mut child: Child) -> (u64, u64) {
    drop(child.stdin.take());
    let text = line(&mut child);
    assert!(child.wait().unwrap().success());
    let (served, asked) = text.split_once(' ').unwrap();
    (served.parse().unwrap(), asked.parse().unwrap())
}

#[test]
fn every_request_of_the_clients_is_served() {
    let mut stock = start(&["demo-service", "stock"]);
    let address = line(&mut stock);
    let mut shop = start(&["demo-service", "shop", "--stock", &address]);
    let address = line(&mut shop);
    let mut prices = start(&["demo-service", "prices"]);
    let prices_address = line(&mut prices);
    let mut client = start(&[
        "demo-client",
        &address,
        "--prices",
        &prices_address,
        "--duration",
        "500ms",
    ]);
    client.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    let line = line(&mut client);
    let (made, called) = line.split_once(' ').unwrap();
    let (made, called): (u64, u64) = (made.parse().unwrap(), called.parse().unwrap());
    assert!(client.wait().unwrap().success());
    let (shop_served, shop_asked) = counts(shop);
    let (stock_served, stock_asked) = counts(stock);
    let (prices_served, _) = counts(prices);
    assert!(called >= 10, "{called}");
    assert_eq!(prices_served, called);
    assert!(made >= 40, "{made}");
    assert_eq!(shop_served, made);
    assert!(shop_asked > made / 2, "{shop_asked} of {made}");
    assert_eq!((stock_served, stock_asked), (shop_asked, 0));
}

#[test]
fn without_the_word_the_clients_make_no_request() {
    let mut client = start(&["demo-client", "127.0.0.1:9"]);
    drop(client.stdin.take());
    assert!(client.wait().unwrap().success());
}
