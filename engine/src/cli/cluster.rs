//! `turgo cluster`.

use serde_json::json;
use turgo_net::ApiKey;

use super::args::ClusterCommand;
use super::client::Client;
use super::exit::CliError;
use super::output::{Out, Table, or_dash};

/// Runs `turgo cluster`.
pub fn run(client: &mut Client, command: ClusterCommand, out: &mut Out<'_>) -> Result<(), CliError> {
    match command {
        ClusterCommand::Info => info(client, out),
        ClusterCommand::Apis => apis(client, out),
    }
}

fn info(client: &mut Client, out: &mut Out<'_>) -> Result<(), CliError> {
    if out.is_json() {
        let brokers: Vec<_> = client
            .brokers
            .iter()
            .map(|(id, broker)| json!({ "id": id, "host": broker.address.host, "port": broker.address.port, "rack": broker.rack }))
            .collect();
        let document = json!({
            "cluster_id": client.cluster_id,
            "controller": (client.controller >= 0).then_some(client.controller),
            "brokers": brokers,
        });
        return out.json(&document);
    }
    out.line(format!(
        "cluster {}",
        client.cluster_id.as_deref().unwrap_or("without id")
    ))?;
    let mut table = Table::new(&["BROKER", "ADDRESS", "RACK", "ROLE"]);
    for (id, broker) in &client.brokers {
        let role = if *id == client.controller {
            "controller"
        } else {
            ""
        };
        table.row([
            id.to_string(),
            broker.address.to_string(),
            or_dash(broker.rack.clone()),
            role.into(),
        ]);
    }
    out.table(&table)
}

fn apis(client: &mut Client, out: &mut Out<'_>) -> Result<(), CliError> {
    let ids: Vec<i32> = client.brokers.keys().copied().collect();
    let mut documents = Vec::new();
    for id in ids {
        let deadline = client.deadline();
        let served = client.broker(id, deadline)?.served().to_vec();
        let name = |key: i16| {
            ApiKey::try_from(key).map_or_else(|_| "unknown".to_string(), |key| key.name().to_string())
        };
        if out.is_json() {
            let apis: Vec<_> = served
                .iter()
                .map(|api| json!({ "key": api.key, "name": name(api.key), "min": api.min, "max": api.max }))
                .collect();
            documents.push(json!({ "broker": id, "apis": apis }));
            continue;
        }
        out.line(format!("broker {id}"))?;
        let mut table = Table::new(&["KEY", "API", "MIN", "MAX"]);
        for api in &served {
            table.row([
                api.key.to_string(),
                name(api.key),
                api.min.to_string(),
                api.max.to_string(),
            ]);
        }
        out.table(&table)?;
    }
    if out.is_json() {
        out.json(&json!(documents))
    } else {
        Ok(())
    }
}
