//! The Lambda function `admin-settings`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(admin_settings::from_env).await
}
