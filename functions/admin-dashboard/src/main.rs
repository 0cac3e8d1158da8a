//! The Lambda function `admin-dashboard`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(admin_dashboard::from_env).await
}
