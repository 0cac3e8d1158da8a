//! The program `parlor-server` next to a `Parlor`. Both use the same database and the same
//! simulator.

#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::process::{Command, Output};

use local::emulator::binaries;
use reqwest::RequestBuilder;
use serde_json::Value;

use super::{
    child::{self, Program},
    parlor::{Answer, Parlor, SECRET, answer, client, token},
};

/// A running server.
pub struct Server {
    pub program: Program,
    pub address: String,
    /// Where its metrics are.
    pub metrics: String,
    http: reqwest::Client,
}

/// The program with the three variables that it needs, on free ports. `DASHSCOPE_BASE_URL` leads to
/// the simulator.
pub async fn command(parlor: &Parlor) -> Command {
    let program = binaries::build().await.unwrap().join("parlor-server");
    let mut command = child::command(program);
    command
        .env_clear()
        .env("DATABASE_URL", parlor.database.url())
        .env("JWT_SECRET", SECRET)
        .env("DASHSCOPE_API_KEY", "sk-for-tests")
        .env("DASHSCOPE_BASE_URL", parlor.simulator.base_url())
        .env("PORT", "0")
        .env("METRICS_ADDR", "127.0.0.1:0");
    command
}

/// Runs a command of the program to its end.
pub async fn run(parlor: &Parlor, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = command(parlor).await;
    command.args(arguments).envs(variables.iter().copied());
    tokio::process::Command::from(command)
        .output()
        .await
        .unwrap()
}

/// Chooses an application for each app, in the database.
pub async fn choose_applications(parlor: &Parlor) {
    parlor
        .execute(
            "insert into biz.ai_apps (app_type, application_id) select name, name from biz.app_types
             on conflict on constraint ai_apps_site_id_app_type_key do nothing",
        )
        .await;
}

impl Server {
    pub async fn start(parlor: &Parlor) -> Self {
        Self::start_with(parlor, &[], &[]).await
    }

    /// Without jobs and schedules.
    pub async fn start_quiet(parlor: &Parlor) -> Self {
        Self::start_with(parlor, &[], &[("RUN_BACKGROUND", "false")]).await
    }

    pub async fn start_with(
        parlor: &Parlor,
        arguments: &[&str],
        variables: &[(&str, &str)],
    ) -> Self {
        let mut command = command(parlor).await;
        command.args(arguments).envs(variables.iter().copied());
        Self::of(command).await
    }

    /// Starts a program that is a server, and waits until it listens.
    pub async fn of(command: Command) -> Self {
        let mut program = Program::start(command);
        let started = program
            .line(|line| {
                let line: Value = serde_json::from_str(line).ok()?;
                (line["message"] == "server started").then_some(line)
            })
            .await;
        let address = |name: &str| format!("http://{}", started[name].as_str().unwrap());
        Self {
            program,
            address: address("address"),
            metrics: format!("{}/metrics", address("metrics_address")),
            http: client(),
        }
    }

    /// A request without a token.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let url = format!("{}{path}", self.address);
        self.http.request(method.parse().unwrap(), url)
    }

    pub fn request_as(&self, user: i64, method: &str, path: &str) -> RequestBuilder {
        self.request(method, path).bearer_auth(token(user))
    }

    pub async fn get(&self, path: &str) -> Answer {
        answer(self.request("GET", path)).await
    }

    /// A message whose reply is streamed (CHAT-4).
    pub fn stream(&self, user: i64, body: &Value) -> RequestBuilder {
        self.request_as(user, "POST", "/api/xcx/chat/stream")
            .json(body)
    }

    /// Resumes a reply (CHAT-5) from its start.
    pub fn resume(&self, user: i64, message_id: &Value) -> RequestBuilder {
        self.request_as(user, "GET", &format!("/api/xcx/chat/stream/{message_id}"))
    }

    pub async fn metrics(&self) -> String {
        let response = self.http.get(&self.metrics).send().await.unwrap();
        response.text().await.unwrap()
    }

    /// Its log lines so far.
    pub fn log(&self) -> Vec<Value> {
        let text = self.program.stdout();
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().unwrap()
    }
}
