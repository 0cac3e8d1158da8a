//! The Lambda function `prewarm`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::handle(prewarm::from_env, prewarm::prewarm).await
}
