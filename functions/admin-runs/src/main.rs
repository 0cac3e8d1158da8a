//! The Lambda function `admin-runs`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(admin_runs::from_env).await
}
