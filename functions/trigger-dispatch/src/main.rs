//! The Lambda function `trigger-dispatch`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::handle(trigger_dispatch::from_env, trigger_dispatch::dispatch).await
}
