//! The Lambda function `chat-stream`.

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda::Error> {
    lambda::serve(chat_stream::from_env).await
}
