//! The Lambda function `cache-invalidate`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(cache_invalidate::from_env).await
}
