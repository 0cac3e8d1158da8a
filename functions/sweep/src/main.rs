//! The Lambda function `sweep`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::handle(sweep::from_env, sweep::sweep).await
}
