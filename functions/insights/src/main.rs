//! The Lambda function `insights`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(insights::from_env).await
}
