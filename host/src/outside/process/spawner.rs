//! Starts programs from one thread that lives as long as the daemon.
//!
//! Touches: processes.
//! Change here: when something else depends on which thread starts a program.
//!
//! A program that asks to die with its parent dies with the thread that started it, and the threads of the runtime
//! come and go.

use std::io;
use std::sync::LazyLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

struct Order {
    command: Command,
    runtime: Handle,
    started: oneshot::Sender<io::Result<Child>>,
}

static ORDERS: LazyLock<Sender<Order>> = LazyLock::new(|| {
    let (sender, orders) = channel();
    let spawner = std::thread::Builder::new().name("spawner".into());
    if let Err(error) = spawner.spawn(move || work(&orders)) {
        tracing::error!("no thread to start programs from: {error}");
    }
    sender
});

pub async fn spawn(command: Command) -> io::Result<Child> {
    let (started, child) = oneshot::channel();
    let order = Order {
        command,
        runtime: Handle::current(),
        started,
    };
    let gone = || io::Error::other("the thread that starts programs is gone");
    ORDERS.send(order).map_err(|_| gone())?;
    child.await.map_err(|_| gone())?
}

fn work(orders: &Receiver<Order>) {
    for mut order in orders {
        let _in_the_runtime = order.runtime.enter();
        // Where nobody waits any more the child is dropped here, which kills it.
        let _ = order.started.send(order.command.spawn());
    }
}
