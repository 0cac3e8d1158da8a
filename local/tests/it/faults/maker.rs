//! The process that makes the replies under test: a function, a local server, or this process.

use crate::harness::sweep;
use std::sync::Arc;

use local::emulator::Emulator;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    harness::{
        child::{self, Program},
        cloud::specs,
        parlor::{Parlor, SECRET, Setup, client, serve, token},
    },
    laptop::{address, home, isolated, program},
};

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// The function's real binary, with the emulated Runtime API and gateway.
    Function,
    /// `local serve`.
    Laptop,
    /// The routers in this process, for cases in which the maker is not killed.
    Here,
}

/// A process whose database is behind a [`Wire`] and which uses the simulator of another `Parlor`.
pub struct Maker {
    address: String,
    process: Process,
    http: reqwest::Client,
}

enum Process {
    Function(Emulator),
    Laptop { program: Program, _home: TempDir },
    Here,
}

impl Maker {
    pub async fn start(kind: Kind, parlor: &Parlor, database_url: &str) -> Self {
        let (address, process) = match kind {
            Kind::Function => function(parlor, database_url).await,
            Kind::Laptop => laptop(parlor, database_url).await,
            Kind::Here => {
                let here = Parlor::start_with(Setup {
                    database: Some(Arc::clone(&parlor.database)),
                    database_url: Some(database_url.to_owned()),
                    dashscope_url: Some(parlor.simulator.base_url()),
                    ..Setup::default()
                })
                .await;
                (here.address, Process::Here)
            }
        };
        Self {
            address,
            process,
            http: client(),
        }
    }

    /// A message whose reply is streamed (CHAT-4).
    pub fn stream(&self, user: i64, body: &Value) -> RequestBuilder {
        let url = format!("{}/api/xcx/chat/stream", self.address);
        self.http.post(url).bearer_auth(token(user)).json(body)
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    pub async fn kill(&mut self) {
        match &mut self.process {
            Process::Function(emulator) => {
                assert_eq!(emulator.kill("chat-stream").await.unwrap(), 1);
            }
            Process::Laptop { program, .. } => {
                program.kill();
                program.ended().await;
            }
            Process::Here => panic!("this process is the test's own"),
        }
    }

    /// Restarts the maker. A function needs no restart: its next event starts a new instance.
    pub async fn start_again(self, parlor: &Parlor, database_url: &str) -> Self {
        match self.process {
            Process::Laptop { .. } => Self::start(Kind::Laptop, parlor, database_url).await,
            _ => self,
        }
    }

    /// Runs the sweep in the same way as the maker's environment does.
    pub async fn sweep(&self, parlor: &Parlor) {
        match &self.process {
            Process::Function(emulator) => {
                let outcome = emulator.invoke("sweep", &json!({})).await.unwrap();
                assert!(
                    matches!(outcome, local::emulator::Outcome::Response(_)),
                    "{outcome:?}"
                );
            }
            _ => _ = sweep(&parlor.db, 90).await.unwrap(),
        }
    }
}

async fn function(parlor: &Parlor, database_url: &str) -> (String, Process) {
    let mut specs = specs(parlor).await;
    for spec in &mut specs {
        // The instance that has served the first message serves the next one.
        spec.max_instances = 1;
        for (name, value) in &mut spec.env {
            if name == "DATABASE_URL" {
                database_url.clone_into(value);
            }
        }
    }
    let emulator = Emulator::start(specs).unwrap();
    let app = emulator.router(local::cloud::routes().unwrap()).unwrap();
    let address = serve(app).await;
    (address, Process::Function(emulator))
}

async fn laptop(parlor: &Parlor, database_url: &str) -> (String, Process) {
    let home = home();
    let mut command = isolated(child::command(program()), home.path());
    command
        .args(["serve", "--port", "0", "--no-schedules", "--no-history"])
        .args(["--database-url", database_url])
        .env("JWT_SECRET", SECRET)
        .env("DASHSCOPE_API_KEY", "sk-for-tests")
        .env("DASHSCOPE_BASE_URL", parlor.simulator.base_url())
        .env("DASHSCOPE_APP_ID_1_CHAT", "app1_chat");
    let mut program = Program::start(command);
    let address = address(&mut program).await;
    let process = Process::Laptop {
        program,
        _home: home,
    };
    (address, process)
}
