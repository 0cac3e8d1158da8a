//! A function for the emulator's own tests that serves plain events: it adds two numbers.

use lambda::Invocation;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

#[derive(Deserialize)]
struct Sum {
    a: u32,
    b: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::handle(async |_| Ok(()), async |(), sum| add(&sum)).await
}

fn add(Invocation { event, ends_at }: &Invocation<Sum>) -> Result<Value, &'static str> {
    let total = event.a.checked_add(event.b).ok_or("too large")?;
    tracing::info!(total, "added");
    let remaining = ends_at.map(|end| end.saturating_duration_since(Instant::now()).as_millis());
    Ok(json!({"total": total, "remainingMs": remaining}))
}
