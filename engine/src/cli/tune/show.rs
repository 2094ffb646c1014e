//! Printing of findings and changes.

use serde_json::json;
use turgo_tuning::tune::act::{Done, Outcome};
use turgo_tuning::tune::{Found, Item, Report, SCHEMA, State, Tuner};

use crate::cli::exit::CliError;
use crate::cli::output::{Out, Table};

fn document(command: &str, report: &Report) -> serde_json::Value {
    let mut value = serde_json::to_value(report).unwrap_or_default();
    value["command"] = command.into();
    value
}

/// The machine in a line.
fn machine(report: &Report, out: &mut Out) -> Result<(), CliError> {
    let host = &report.host;
    let place = match (&host.container, host.is_virtual) {
        (Some(kind), _) => format!("container ({kind})"),
        (None, true) => "virtual machine".into(),
        (None, false) => "machine".into(),
    };
    let names = |names: &[String]| {
        if names.is_empty() {
            "none".to_string()
        } else {
            names.join(" ")
        }
    };
    out.line(format!(
        "{place}, Linux {}, {} shards on CPUs {}; data in {} ({}) on {}; interfaces: {}",
        host.kernel.as_deref().unwrap_or("?"),
        host.shards,
        host.shard_cpus,
        host.data_dir.display(),
        host.filesystem.as_deref().unwrap_or("?"),
        names(&host.devices),
        names(&host.nics),
    ))
}

/// A value, short.
fn brief(value: Option<&str>) -> String {
    let Some(value) = value else {
        return "-".into();
    };
    if value.chars().count() <= 40 {
        return value.into();
    }
    format!("{}...", value.chars().take(37).collect::<String>())
}

/// `turgo tune list`.
pub fn list(report: &Report, out: &mut Out) -> Result<(), CliError> {
    if out.is_json() {
        return out.json(&document("list", report));
    }
    machine(report, out)?;
    let mut table = Table::new(&["NAME", "ABOUT", "STATE", "NOW", "WANTED", "SETS"]);
    for found in &report.tuners {
        let worst = found.items.iter().find(|item| item.state == found.state);
        let more = match found
            .items
            .iter()
            .filter(|item| item.state == found.state)
            .count()
        {
            0 | 1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        table.row([
            found.name.into(),
            found.category.name().into(),
            found.state.name().into(),
            brief(worst.and_then(|item| item.current.as_deref())) + &more,
            brief(worst.and_then(|item| item.wanted.as_deref())),
            found.title.into(),
        ]);
    }
    out.table(&table)
}

fn item(item: &Item, out: &mut Out) -> Result<(), CliError> {
    let values = match (&item.current, &item.wanted) {
        (Some(current), Some(wanted)) if current == wanted => format!("  {current}"),
        (Some(current), Some(wanted)) => format!("  {current} -> {wanted}"),
        (Some(current), None) => format!("  {current}"),
        (None, Some(wanted)) => format!("  -> {wanted}"),
        (None, None) => String::new(),
    };
    out.line(format!("    {}{values}", item.knob))?;
    match &item.note {
        Some(note) => out.line(format!("        {note}")),
        None => Ok(()),
    }
}

/// `turgo tune check`.
pub fn check(report: &Report, all: bool, out: &mut Out) -> Result<(), CliError> {
    if out.is_json() {
        return out.json(&document("check", report));
    }
    machine(report, out)?;
    let quiet = [State::Ok, State::NotApplicable, State::KernelManaged];
    let mut shown: Vec<&Found> = report
        .tuners
        .iter()
        .filter(|found| all || !quiet.contains(&found.state))
        .collect();
    shown.sort_by_key(|found| std::cmp::Reverse(found.state));
    for found in shown {
        out.line("")?;
        out.line(format!("{} {}: {}", found.state.name(), found.name, found.why))?;
        for one in &found.items {
            if all || one.state == found.state || !quiet.contains(&one.state) {
                item(one, out)?;
            }
        }
    }
    out.line("")?;
    let counts: Vec<String> = report
        .summary
        .iter()
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    out.line(counts.join(", "))?;
    if report.changes().next().is_some() {
        out.line("`turgo tune apply --dry-run` shows what would be changed, `turgo tune explain NAME` why")?;
    }
    Ok(())
}

/// `turgo tune explain`.
pub fn explain(tuners: &[&'static Tuner], out: &mut Out) -> Result<(), CliError> {
    if out.is_json() {
        let each = |tuner: &&Tuner| {
            json!({
                "name": tuner.name,
                "category": tuner.category,
                "title": tuner.title,
                "why": tuner.why,
                "effect": tuner.effect,
                "source": tuner.source,
                "risk": tuner.risk,
                "by_hand": tuner.by_hand,
            })
        };
        let tuners: Vec<_> = tuners.iter().map(each).collect();
        return out.json(&json!({"schema": SCHEMA, "command": "explain", "tuners": tuners}));
    }
    for (index, tuner) in tuners.iter().enumerate() {
        if index > 0 {
            out.line("")?;
        }
        out.line(format!("{} ({})", tuner.name, tuner.category.name()))?;
        for (word, text) in [
            ("sets", tuner.title),
            ("why", tuner.why),
            ("effect", tuner.effect),
            ("source", tuner.source),
            ("risk", tuner.risk),
            ("by hand", tuner.by_hand),
        ] {
            out.line(format!("  {word:<8}{text}"))?;
        }
    }
    Ok(())
}

/// Lines of a diff of one file.
fn diff(line: &Done, out: &mut Out) -> Result<(), CliError> {
    let absent = "/dev/null";
    let name = |value: &Option<String>| value.as_ref().map_or(absent.into(), |_| line.path.clone());
    out.line(format!("--- {}", name(&line.before)))?;
    out.line(format!("+++ {}  ({})", name(&line.after), line.tuner))?;
    for (sign, value) in [('-', &line.before), ('+', &line.after)] {
        for text in value.iter().flat_map(|value| value.lines()) {
            out.line(format!("{sign}{text}"))?;
        }
    }
    Ok(())
}

/// Microseconds of a durable write before and after: median and 99th percentile.
pub type Times = ((f64, f64), (f64, f64));

/// What `apply` and `undo` did, or would do.
pub fn changes(
    command: &str,
    dry_run: bool,
    lines: &[Done],
    left: &[(&'static str, &Item)],
    times: Option<Times>,
    out: &mut Out,
) -> Result<(), CliError> {
    if out.is_json() {
        let left: Vec<_> = left
            .iter()
            .map(|(tuner, item)| json!({"tuner": tuner, "item": item}))
            .collect();
        let durable = times.map(|(before, after)| {
            json!({
                "before": {"p50_us": before.0, "p99_us": before.1},
                "after": {"p50_us": after.0, "p99_us": after.1},
            })
        });
        return out.json(&json!({
            "schema": SCHEMA,
            "command": command,
            "dry_run": dry_run,
            "changes": lines,
            "by_hand": left,
            "durable_write": durable,
        }));
    }
    for line in lines {
        if dry_run {
            diff(line, out)?;
            continue;
        }
        let word = match line.outcome {
            Outcome::Applied => "set",
            Outcome::Restored => "restored",
            Outcome::Forgotten => "nothing to restore",
            Outcome::Conflict => "left alone",
            Outcome::Denied => "denied",
            Outcome::KernelManaged => "kernel-managed",
            Outcome::Failed => "failed",
            Outcome::WouldApply | Outcome::WouldRestore => "would be set",
        };
        let one = |value: &Option<String>| match value {
            None => "absent".to_string(),
            Some(value) if value.contains('\n') => "file".to_string(),
            Some(value) => value.clone(),
        };
        let values = if line.before == line.after {
            one(&line.before)
        } else {
            format!("{} -> {}", one(&line.before), one(&line.after))
        };
        out.line(format!("{word}: {}  {values}  ({})", line.path, line.tuner))?;
        if let Some(note) = &line.note {
            out.line(format!("    {note}"))?;
        }
    }
    let done = lines.iter().filter(|line| !line.outcome.is_bad()).count();
    match (command, dry_run, lines.is_empty()) {
        ("apply", _, true) => out.line("nothing to change")?,
        (_, _, true) => out.line("nothing to undo")?,
        (_, true, false) => out.line(format!("{} would be changed; nothing was", lines.len()))?,
        ("apply", false, false) => out.line(format!(
            "{done} of {} changed; `turgo tune undo` puts the old values back",
            lines.len()
        ))?,
        (_, false, false) => out.line(format!("{done} of {} settled", lines.len()))?,
    }
    if let Some(((p50, p99), (p50_after, p99_after))) = times {
        out.line(format!(
            "durable 4 KiB write: p50 {p50:.0} -> {p50_after:.0} us, p99 {p99:.0} -> {p99_after:.0} us (1,000 writes each)"
        ))?;
    }
    if !left.is_empty() {
        out.line("not to be changed from here:")?;
        for (_, one) in left {
            item(one, out)?;
        }
    }
    Ok(())
}
