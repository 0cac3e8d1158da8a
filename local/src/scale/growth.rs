//! The steps from the first limit to a hundred times the messages: the resource that is used up
//! first, what to do, and the resource that is used up next.

use super::{
    measured::Measured,
    model::{Capacity, Load, Resource, Sizing, first_limit},
    text::{Text, text},
};

/// What is done about a limit.
#[derive(Clone, Debug)]
pub struct Step {
    /// Messages per day at which the resource is used up in the busiest hour.
    pub messages_per_day: f64,
    /// The resource.
    pub resource: Resource,
    /// What to do then. `None`: nothing is needed for the load of the last column.
    pub action: Option<Text>,
}

/// The deployment without limits of DashScope, such as with a contract of your own.
#[must_use]
pub fn without_limits_of_dashscope(sizing: &Sizing) -> Sizing {
    Sizing {
        application_calls_per_second: f64::INFINITY,
        account_calls_per_minute: f64::INFINITY,
        ..sizing.clone()
    }
}

/// The steps until the load fits.
pub fn steps(load: &Load, sizing: &Sizing, measured: &Measured) -> Vec<Step> {
    let mut sizing = sizing.clone();
    let mut capacity = Capacity::Standard;
    let mut steps = Vec::new();
    // Each action at least doubles a limit, so this ends long before.
    for _ in 0..64 {
        let (resource, messages_per_day) = first_limit(load, &sizing, measured, capacity);
        let action = (messages_per_day < load.messages_per_day)
            .then(|| act(resource, &mut sizing, &mut capacity));
        let is_last = action.is_none();
        steps.push(Step {
            messages_per_day,
            resource,
            action,
        });
        if is_last {
            break;
        }
    }
    steps
}

/// Raises a limit, and returns how.
fn act(resource: Resource, sizing: &mut Sizing, capacity: &mut Capacity) -> Text {
    let action = match resource {
        Resource::Lambda => more_functions(sizing, capacity),
        Resource::Connections => more_connections(sizing, capacity),
        Resource::PostgresCpu => larger_database(sizing),
        Resource::Iops | Resource::Throughput | Resource::Storage => {
            larger_volume(resource, sizing)
        }
        Resource::ApiRoute | Resource::ApiAccount => more_requests(resource, sizing),
        Resource::ApplicationCalls => Some(more_applications(sizing)),
        Resource::AccountCalls => None,
    };
    action.unwrap_or_else(|| more_stacks(resource, sizing))
}

fn more_functions(sizing: &mut Sizing, capacity: &mut Capacity) -> Option<Text> {
    if sizing.lambda_concurrency < 10_000.0 {
        sizing.lambda_concurrency = 10_000.0;
        return Some(text(
            "raise the quota of concurrent executions to 10,000",
            "把并发执行配额提高到 10,000",
        ));
    }
    managed(capacity)
}

fn managed(capacity: &mut Capacity) -> Option<Text> {
    if *capacity == Capacity::Managed {
        return None;
    }
    *capacity = Capacity::Managed;
    Some(text(
        "stream from Lambda Managed Instances",
        "流式函数改用 Lambda Managed Instances",
    ))
}

fn more_connections(sizing: &mut Sizing, capacity: &mut Capacity) -> Option<Text> {
    if let Some(action) = managed(capacity) {
        return Some(action);
    }
    if sizing.streams_per_environment >= 256.0 {
        return None;
    }
    sizing.streams_per_environment = 256.0;
    Some(text(
        "256 streams in an environment, which share its connections",
        "每个执行环境承载 256 个流，共用其连接",
    ))
}

fn larger_database(sizing: &mut Sizing) -> Option<Text> {
    if sizing.postgres_vcpu < 64.0 {
        sizing.postgres_vcpu *= 4.0;
        sizing.postgres_memory_gib *= 4.0;
        let (vcpu, memory) = (sizing.postgres_vcpu, sizing.postgres_memory_gib);
        return Some(Text {
            en: format!("PostgreSQL with {vcpu} vCPU and {memory} GiB"),
            zh: format!("PostgreSQL 换成 {vcpu} vCPU、{memory} GiB"),
        });
    }
    if sizing.reads_on_replicas > 0.0 {
        return None;
    }
    sizing.reads_on_replicas = 1.0;
    Some(text(
        "lists from read replicas (Parlor needs a second database URL for them)",
        "列表改读只读副本（Parlor 需要先支持第二个数据库地址）",
    ))
}

/// The largest gp3 volume of RDS, then Aurora, then fewer messages.
/// <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/CHAP_Storage.html>
fn larger_volume(resource: Resource, sizing: &mut Sizing) -> Option<Text> {
    if resource == Resource::Iops && sizing.volume_iops < 64_000.0 {
        sizing.volume_iops = 64_000.0;
        return Some(text("provision 64,000 IOPS", "预置 64,000 IOPS"));
    }
    if resource == Resource::Throughput && sizing.volume_mib_per_second < 4000.0 {
        sizing.volume_mib_per_second = 4000.0;
        return Some(text("provision 4,000 MiB/s", "预置 4,000 MiB/s"));
    }
    if sizing.volume_gib < 131_072.0 {
        sizing.volume_gib = 131_072.0;
        sizing.volume_iops = f64::INFINITY;
        sizing.volume_mib_per_second = f64::INFINITY;
        return Some(text(
            "Aurora: up to 128 TiB, without IOPS to provision",
            "改用 Aurora：上限 128 TiB，无需预置 IOPS",
        ));
    }
    if resource != Resource::Storage || sizing.years <= 0.5 {
        return None;
    }
    sizing.years = 0.5;
    Some(text(
        "partition the messages by month, and archive those of more than six months",
        "消息按月分区，半年以上的归档",
    ))
}

fn more_requests(resource: Resource, sizing: &mut Sizing) -> Option<Text> {
    if resource == Resource::ApiRoute && sizing.route_requests_per_second < 10_000.0 {
        sizing.route_requests_per_second = 10_000.0;
        return Some(text(
            "raise `ApiRateLimit` to 10,000",
            "把 `ApiRateLimit` 提高到 10,000",
        ));
    }
    if resource != Resource::ApiAccount || sizing.api_requests_per_second >= 40_000.0 {
        return None;
    }
    sizing.api_requests_per_second = 40_000.0;
    Some(text(
        "raise the quota of API Gateway to 40,000 requests per second",
        "把 API Gateway 配额提高到每秒 40,000 请求",
    ))
}

fn more_applications(sizing: &mut Sizing) -> Text {
    sizing.applications *= 4.0;
    let to = sizing.applications;
    Text {
        en: format!("divide the sites among {to} DashScope applications"),
        zh: format!("各门店分到 {to} 个 DashScope 应用"),
    }
}

fn more_stacks(resource: Resource, sizing: &mut Sizing) -> Text {
    sizing.stacks *= 4.0;
    let to = sizing.stacks;
    if resource == Resource::AccountCalls {
        return Text {
            en: format!(
                "a higher limit from Alibaba Cloud, or {to} stacks with accounts and databases of \
                 their own, and the sites divided among them"
            ),
            zh: format!(
                "向阿里云申请提高限额；或拆成 {to} 套独立部署，各有自己的账号和数据库，门店分摊"
            ),
        };
    }
    Text {
        en: format!("{to} stacks, such as one for each region, and the sites divided among them"),
        zh: format!("拆成 {to} 套独立部署（例如每个地域一套），门店分摊"),
    }
}
