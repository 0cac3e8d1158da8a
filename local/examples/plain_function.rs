//! A function for the emulator's own tests that serves plain events: it adds two numbers.

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
struct Sum {
    a: u32,
    b: u32,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::handle(async |_| Ok(()), async |(), sum| add(&sum)).await
}

fn add(sum: &Sum) -> Result<Value, &'static str> {
    let total = sum.a.checked_add(sum.b).ok_or("too large")?;
    Ok(json!({"total": total}))
}
