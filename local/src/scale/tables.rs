//! The tables, in both languages.

use std::fmt::Write as _;

use super::{
    growth,
    measured::Measured,
    model::{
        self, Capacity, Load, Prices, Resource, Sizing, cost, first_limit, limit,
        messages_per_day_at_limit, used,
    },
    queue::{self, Hour},
    text::{Language, Text, number, same, text},
};

/// The columns: multiples of the messages per day.
const FACTORS: [f64; 3] = [1.0, 10.0, 100.0];
/// Times that a client of the simulation sends a question.
const TRIES: u32 = 5;

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    title: &'static str,
    headings: Vec<Text>,
    rows: Vec<Vec<Text>>,
}

impl Table {
    /// For a terminal, in English.
    pub fn plain(&self) -> String {
        let cells = |row: &[Text]| -> Vec<String> {
            let plain = |cell: &Text| cell.en.replace("**", "").replace('`', "");
            row.iter().map(plain).collect()
        };
        let rows: Vec<_> = std::iter::once(&self.headings)
            .chain(&self.rows)
            .map(|row| cells(row))
            .collect();
        let mut lines = format!("{}\n", self.title);
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let lengths = rows.iter().map(|row| row[column].chars().count());
                let width = lengths.max().unwrap_or_default();
                write!(line, "  {cell:<width$}").ok();
            }
            lines.push_str(line.trim_end());
            lines.push('\n');
        }
        lines
    }

    /// For a document.
    pub fn markdown(&self, language: Language) -> String {
        let line = |row: &[Text]| {
            let cells: Vec<_> = row.iter().map(|cell| cell.get(language)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut lines = line(&self.headings);
        writeln!(lines, "|{}", "---|".repeat(self.headings.len())).ok();
        for row in &self.rows {
            lines.push_str(&line(row));
        }
        lines
    }
}

/// All tables by name.
pub fn tables(
    load: &Load,
    sizing: &Sizing,
    measured: &Measured,
    prices: &Prices,
) -> Vec<(&'static str, Table)> {
    vec![
        ("assumptions", assumptions(load)),
        ("load", load_table(load, sizing, measured)),
        ("resources", resources(load, sizing, measured)),
        ("first", first(load, sizing, measured)),
        ("growth", growth_table(load, sizing, measured)),
        (
            "growth-without-dashscope",
            growth_table(load, &growth::without_limits_of_dashscope(sizing), measured),
        ),
        ("queue", queue_table(load, sizing)),
        ("cost", cost_table(load, sizing, measured, prices)),
        ("prices", prices_table(prices)),
        ("storage", storage(load, sizing)),
        ("measured", measured_table(load, sizing, measured)),
    ]
}

fn row(label: Text, values: impl IntoIterator<Item = String>) -> Vec<Text> {
    std::iter::once(label)
        .chain(values.into_iter().map(same))
        .collect()
}

/// The headings of a table with one column per factor.
fn by_factor(first: Text) -> Vec<Text> {
    let factors = FACTORS.map(|factor| same(format!("{}×", number(factor))));
    std::iter::once(first).chain(factors).collect()
}

fn assumptions(load: &Load) -> Table {
    let line = |label, value, option: &str| {
        vec![label, same(number(value)), same(format!("`--{option}`"))]
    };
    Table {
        title: "Assumptions",
        headings: vec![
            text("assumption", "假设"),
            text("value", "值"),
            text("option", "选项"),
        ],
        rows: vec![
            line(
                text(
                    "questions a day, each with one reply",
                    "每天的提问数，每问一答",
                ),
                load.messages_per_day,
                "messages-per-day",
            ),
            line(
                text(
                    "rate of the busiest hour, divided by the average of the day",
                    "高峰小时的速率与全天平均之比",
                ),
                load.peak_factor,
                "peak-factor",
            ),
            line(
                text("tokens of a reply", "每条回复的 token 数"),
                load.reply_tokens,
                "reply-tokens",
            ),
            line(
                text(
                    "seconds from the question to the end of the reply",
                    "从提问到回复结束的秒数",
                ),
                load.seconds_per_reply,
                "seconds-per-reply",
            ),
            line(
                text("tokens of a prompt", "每个 prompt 的 token 数"),
                load.prompt_tokens,
                "prompt-tokens",
            ),
            line(
                text("other requests per message", "每条消息的其他请求数"),
                load.reads_per_message,
                "reads-per-message",
            ),
            line(
                text("bytes of text per token", "每个 token 的文本字节数"),
                load.bytes_per_token,
                "bytes-per-token",
            ),
        ],
    }
}

/// A row with a number for each multiple of the load.
fn by_load(label: Text, load: &Load, value: &dyn Fn(&Load) -> f64) -> Vec<Text> {
    row(
        label,
        FACTORS.map(|factor| number(value(&load.times(factor)))),
    )
}

fn load_table(load: &Load, sizing: &Sizing, measured: &Measured) -> Table {
    let line = |label, value: &dyn Fn(&Load) -> f64| by_load(label, load, value);
    Table {
        title: "Load of the busiest hour",
        headings: by_factor(text("in the busiest hour", "高峰小时")),
        rows: vec![
            line(text("messages a day", "每天的消息数"), &|load| {
                load.messages_per_day
            }),
            line(text("messages per second", "每秒消息数"), &|load| {
                load.peak_per_second()
            }),
            line(
                text("replies in progress", "进行中的回复数"),
                &|load| load.replies_at_once(),
            ),
            line(text("requests per second", "每秒请求数"), &|load| {
                load.requests_per_second()
            }),
            line(text("tokens per second", "每秒 token 数"), &|load| {
                load.tokens_per_second()
            }),
            line(
                text("CPU of the relay, in cores", "转发占用的 CPU（核）"),
                &|load| model::relay_cores(load, measured),
            ),
            line(
                text("managed: environments", "托管实例：执行环境数"),
                &|load| model::environments(load, sizing).ceil(),
            ),
            line(text("managed: vCPU", "托管实例：vCPU"), &|load| {
                model::managed_vcpu(load, sizing, measured)
            }),
            line(
                text(
                    "managed: memory of the streams of an environment, in MiB",
                    "托管实例：每个执行环境中流占用的内存（MiB）",
                ),
                &|_| {
                    measured.process_mib.value
                        + sizing.streams_per_environment * measured.stream_kib.value / 1024.0
                },
            ),
        ],
    }
}

fn label(resource: Resource) -> Text {
    match resource {
        Resource::Lambda => text("Lambda: concurrent executions", "Lambda：并发执行数"),
        Resource::ApiRoute => text(
            "API Gateway: requests per second of a route",
            "API Gateway：单个路由每秒请求数",
        ),
        Resource::ApiAccount => text(
            "API Gateway: requests per second of the account",
            "API Gateway：账号每秒请求数",
        ),
        Resource::ApplicationCalls => text(
            "DashScope: calls per second of the applications",
            "DashScope：应用每秒调用数",
        ),
        Resource::AccountCalls => text(
            "DashScope: calls per minute of the account",
            "DashScope：账号每分钟调用数",
        ),
        Resource::Connections => text("PostgreSQL: connections", "PostgreSQL：连接数"),
        Resource::PostgresCpu => text("PostgreSQL: CPU, in cores", "PostgreSQL：CPU（核）"),
        Resource::Iops => text("volume: IOPS", "存储卷：IOPS"),
        Resource::Throughput => text("volume: written MiB/s", "存储卷：写入 MiB/s"),
        Resource::Storage => text(
            "volume: GiB after `--years`",
            "存储卷：`--years` 之后的 GiB",
        ),
    }
}

const CAPACITIES: [Capacity; 2] = [Capacity::Standard, Capacity::Managed];

fn of(capacity: Capacity) -> Text {
    match capacity {
        Capacity::Standard => text("standard functions", "标准函数"),
        Capacity::Managed => text("managed instances", "托管实例"),
    }
}

/// A label with the kind of capacity, for the resources that depend on it.
fn label_of(resource: Resource, capacity: Capacity) -> Text {
    let (label, kind) = (label(resource), of(capacity));
    Text {
        en: format!("{}, {}", label.en, kind.en),
        zh: format!("{}（{}）", label.zh, kind.zh),
    }
}

/// The resources, those that depend on the kind of capacity twice.
fn lines() -> impl Iterator<Item = (Resource, Capacity, Text)> {
    Resource::ALL.into_iter().flat_map(|resource| {
        let depends = matches!(resource, Resource::Lambda | Resource::Connections);
        let kinds = if depends {
            CAPACITIES.to_vec()
        } else {
            vec![Capacity::Standard]
        };
        kinds.into_iter().map(move |kind| {
            let label = if depends {
                label_of(resource, kind)
            } else {
                label(resource)
            };
            (resource, kind, label)
        })
    })
}

fn resources(load: &Load, sizing: &Sizing, measured: &Measured) -> Table {
    let mut headings = by_factor(text("resource", "资源"));
    headings.insert(1, text("limit", "上限"));
    headings.push(text("used up at messages a day", "达到上限时每天的消息数"));
    let rows = lines()
        .map(|(resource, capacity, label)| {
            let limit = limit(resource, sizing);
            let cells = FACTORS.map(|factor| {
                let used = used(resource, &load.times(factor), sizing, measured, capacity);
                let used_text = number(used);
                if used > limit {
                    format!("**{used_text}**")
                } else {
                    used_text
                }
            });
            let at = messages_per_day_at_limit(resource, load, sizing, measured, capacity);
            let values = std::iter::once(number(limit))
                .chain(cells)
                .chain([number(at)]);
            row(label, values)
        })
        .collect();
    Table {
        title: "Use of each resource in the busiest hour",
        headings,
        rows,
    }
}

fn first(load: &Load, sizing: &Sizing, measured: &Measured) -> Table {
    let rows = CAPACITIES
        .into_iter()
        .map(|capacity| {
            let cells = FACTORS.map(|factor| {
                let load = load.times(factor);
                let (resource, at) = first_limit(&load, sizing, measured, capacity);
                let part = number(100.0 * load.messages_per_day / at);
                let label = label(resource);
                Text {
                    en: format!("{}: {part} %", label.en),
                    zh: format!("{}：{part} %", label.zh),
                }
            });
            std::iter::once(of(capacity)).chain(cells).collect()
        })
        .collect();
    Table {
        title: "The first limit, with nothing changed",
        headings: by_factor(text("capacity", "容量类型")),
        rows,
    }
}

fn growth_table(load: &Load, sizing: &Sizing, measured: &Measured) -> Table {
    let most = load.times(FACTORS[FACTORS.len() - 1]);
    let rows = growth::steps(&most, sizing, measured)
        .into_iter()
        .map(|step| {
            let action = step.action.unwrap_or_else(|| text("–", "–"));
            vec![
                same(number(step.messages_per_day)),
                label(step.resource),
                action,
            ]
        })
        .collect();
    Table {
        title: if sizing.account_calls_per_minute.is_finite() {
            "Limit after limit, from standard functions"
        } else {
            "Limit after limit, if DashScope set none"
        },
        headings: vec![
            text("messages a day, up to", "每天的消息数，最多"),
            text("used up then", "此时用尽"),
            text("what to do", "怎么办"),
        ],
        rows,
    }
}

fn queue_table(load: &Load, sizing: &Sizing) -> Table {
    let mut rows = Vec::new();
    for capacity in CAPACITIES {
        for factor in FACTORS {
            let load = load.times(factor);
            let outcome = queue::simulate(&Hour {
                questions_per_second: load.peak_per_second(),
                seconds_per_reply: load.seconds_per_reply,
                replies_at_once: match capacity {
                    Capacity::Standard => limit(Resource::Lambda, sizing),
                    Capacity::Managed => f64::INFINITY,
                },
                calls_per_second: limit(Resource::ApplicationCalls, sizing)
                    .min(limit(Resource::AccountCalls, sizing) / 60.0),
                tries: TRIES,
            });
            let kind = of(capacity);
            let times = number(factor);
            let label = Text {
                en: format!("{times}×, {}", kind.en),
                zh: format!("{times}×，{}", kind.zh),
            };
            let percent = |part: f64| format!("{:.1} %", 100.0 * part);
            let cells = match outcome {
                Some(outcome) => [
                    percent(outcome.accepted_at_once),
                    percent(outcome.refused),
                    format!("{:.1} s", outcome.wait_p99_seconds),
                    outcome.most_at_once.to_string(),
                ],
                None => std::array::from_fn(|_| "–".to_owned()),
            };
            rows.push(row(label, cells));
        }
    }
    Table {
        title: "Simulation of the busiest hour, with nothing changed",
        headings: vec![
            text("messages", "消息量"),
            text("accepted at once", "立即受理"),
            text("refused five times", "五次都被拒绝"),
            text("wait of the accepted, p99", "受理前的等待，p99"),
            text("most replies at once", "同时进行的回复，最多"),
        ],
        rows,
    }
}

fn cost_table(load: &Load, sizing: &Sizing, measured: &Measured, prices: &Prices) -> Table {
    let line = |label, value: fn(&model::Cost) -> f64| {
        by_load(label, load, &|load| {
            value(&cost(load, sizing, measured, prices)).round()
        })
    };
    Table {
        title: "Cost of a month, in US dollars",
        headings: by_factor(text("a month, in US dollars", "每月，美元")),
        rows: vec![
            line(
                text(
                    "Lambda, replies, standard functions",
                    "Lambda：回复，标准函数",
                ),
                |cost| cost.lambda_standard,
            ),
            line(
                text(
                    "Lambda, replies, managed instances",
                    "Lambda：回复，托管实例",
                ),
                |cost| cost.lambda_managed,
            ),
            line(
                text("Lambda, other requests", "Lambda：其他请求"),
                |cost| cost.reads,
            ),
            line(text("API Gateway", "API Gateway"), |cost| cost.api),
            line(
                text("data to the internet", "流出到公网的数据"),
                |cost| cost.transfer,
            ),
            line(
                text("PostgreSQL with a standby", "PostgreSQL（含备用实例）"),
                |cost| cost.postgres,
            ),
            line(
                text(
                    "its storage after `--years`",
                    "PostgreSQL 的存储（`--years` 后）",
                ),
                |cost| cost.storage,
            ),
            line(
                text("all, with standard functions", "合计，标准函数"),
                |cost| cost.lambda_standard + cost.of_both(),
            ),
            line(
                text("all, with managed instances", "合计，托管实例"),
                |cost| cost.lambda_managed + cost.of_both(),
            ),
            line(
                text(
                    "DashScope, in yuan (example prices)",
                    "DashScope，人民币元（示例单价）",
                ),
                |cost| cost.dashscope_cny,
            ),
        ],
    }
}

fn price(label: Text, value: f64, option: &str, source: Text) -> Vec<Text> {
    vec![
        label,
        same(value.to_string()),
        same(format!("`--{option}`")),
        source,
    ]
}

fn prices_table(prices: &Prices) -> Table {
    let secondary = || text("quoted price", "转引的价格");
    let example = || text("**an example**, not confirmed", "**示例**，未经核实");
    Table {
        title: "Prices",
        headings: vec![
            text("price", "单价"),
            text("value", "值"),
            text("option", "选项"),
            text("source", "来源"),
        ],
        rows: vec![
            price(
                text("Lambda x86, USD per GB-second", "Lambda x86，美元/GB-秒"),
                prices.lambda_gb_second,
                "lambda-gb-second",
                secondary(),
            ),
            price(
                text(
                    "Lambda, USD per million requests",
                    "Lambda，美元/百万次请求",
                ),
                prices.lambda_million_requests,
                "lambda-million-requests",
                secondary(),
            ),
            price(
                text("EC2, USD per vCPU and hour", "EC2，美元/vCPU·小时"),
                prices.ec2_vcpu_hour,
                "ec2-vcpu-hour",
                text(
                    "**an example**: half of an m7g.large (arm64), quoted price",
                    "**示例**：m7g.large（arm64）的一半，转引的价格",
                ),
            ),
            price(
                text(
                    "fee of Lambda Managed Instances, part of EC2",
                    "Lambda Managed Instances 管理费，占 EC2 的比例",
                ),
                prices.managed_fee,
                "managed-fee",
                secondary(),
            ),
            price(
                text(
                    "REST API, USD per million requests",
                    "REST API，美元/百万次请求",
                ),
                prices.api_million_requests,
                "api-million-requests",
                secondary(),
            ),
            price(
                text("data to the internet, USD per GB", "流出到公网，美元/GB"),
                prices.transfer_gb,
                "transfer-gb",
                secondary(),
            ),
            price(
                text(
                    "RDS for PostgreSQL, USD per vCPU and hour",
                    "RDS for PostgreSQL，美元/vCPU·小时",
                ),
                prices.postgres_vcpu_hour,
                "postgres-vcpu-hour",
                example(),
            ),
            price(
                text("gp3 of RDS, USD per GB and month", "RDS gp3，美元/GB·月"),
                prices.storage_gb_month,
                "storage-gb-month",
                secondary(),
            ),
            price(
                text(
                    "DashScope, yuan per million tokens of prompts",
                    "DashScope，元/百万输入 token",
                ),
                prices.input_million_tokens,
                "input-million-tokens",
                example(),
            ),
            price(
                text(
                    "DashScope, yuan per million tokens of replies",
                    "DashScope，元/百万输出 token",
                ),
                prices.output_million_tokens,
                "output-million-tokens",
                example(),
            ),
        ],
    }
}

fn storage(load: &Load, sizing: &Sizing) -> Table {
    let line = |label, value: &dyn Fn(&Load) -> f64| by_load(label, load, value);
    Table {
        title: "Storage, in GiB",
        headings: by_factor(text("stored, in GiB", "存储量（GiB）")),
        rows: vec![
            line(
                text("messages, each month", "消息，每月增长"),
                &|load| {
                    load.messages_per_day * 30.0 * model::kept_bytes_per_message(load, sizing)
                        / 1_073_741_824.0
                },
            ),
            line(
                text(
                    "run log, once it is kept for its time",
                    "run log，达到保留天数后",
                ),
                &|load| {
                    load.messages_per_day
                        * sizing.run_log_days
                        * model::run_bytes_per_message(load, sizing)
                        / 1_073_741_824.0
                },
            ),
            line(
                text("all, after `--years`", "合计，`--years` 之后"),
                &|load| model::stored_gib(load, sizing, 365.0),
            ),
            line(
                text("all, after three years", "合计，三年后"),
                &|load| model::stored_gib(load, sizing, 3.0 * 365.0),
            ),
        ],
    }
}

fn measured_table(load: &Load, sizing: &Sizing, measured: &Measured) -> Table {
    let mut rows: Vec<_> = [
        &measured.token_cpu_us,
        &measured.stream_kib,
        &measured.process_mib,
        &measured.begin_ms,
        &measured.checkpoint_ms,
        &measured.finish_ms,
        &measured.read_ms,
    ]
    .into_iter()
    .map(|figure| {
        vec![
            same(format!("{}: {}", figure.title, figure.what)),
            same(format!("{} {}", number(figure.value), figure.unit)),
            text(
                "[benchmarks](benchmarks.md)",
                "[性能测试](../benchmarks.md)",
            ),
        ]
    })
    .collect();
    let here = |label, value: String, source: Text| vec![label, same(value), source];
    let replies = || text("400 replies", "400 条回复");
    let rows_source = || text("demo data", "演示数据");
    rows.extend([
        here(
            text(
                "CPU of PostgreSQL, divided by the time of the statements",
                "PostgreSQL 的 CPU 时间与语句耗时之比",
            ),
            number(super::measured::CPU_PER_STATEMENT_TIME),
            replies(),
        ),
        here(
            text(
                "CPU of PostgreSQL per message (computed)",
                "每条消息的 PostgreSQL CPU（计算值）",
            ),
            format!(
                "{} ms",
                number(model::postgres_ms_per_message(load, sizing, measured))
            ),
            text("the rows above", "由以上各行算出"),
        ),
        here(
            text(
                "write-ahead log per reply (computed)",
                "每条回复的 WAL（计算值）",
            ),
            format!("{} kB", number(model::wal_bytes_per_reply(load) / 1e3)),
            text("80 replies", "80 条回复"),
        ),
        here(
            text(
                "transactions per reply (computed)",
                "每条回复的事务数（计算值）",
            ),
            number(model::operations_per_reply(load, sizing) - sizing.pages_per_reply),
            replies(),
        ),
        here(
            text("a message without its text", "一条消息，不含正文"),
            format!("{} bytes", number(super::measured::MESSAGE_BYTES)),
            rows_source(),
        ),
        here(
            text("a run without its text", "一条运行记录，不含正文"),
            format!("{} bytes", number(super::measured::RUN_BYTES)),
            rows_source(),
        ),
        here(
            text("a conversation", "一个会话"),
            format!("{} bytes", number(super::measured::CONVERSATION_BYTES)),
            rows_source(),
        ),
    ]);
    Table {
        title: "Measured figures",
        headings: vec![
            text("measured", "测量项"),
            text("value", "值"),
            text("source", "来源"),
        ],
        rows,
    }
}
