//! The settings for readers, from the same list that `--help` is made of.

use super::{
    catalogue::CATALOGUE,
    drain::DRAIN_FIELDS,
    limits::{BOUNDS, Bound},
};

/// The tables of all settings by heading, in Markdown, and the names that the file of hot settings has for those that
/// may change while the hub runs.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::new();
    let mut heading = "";
    for setting in CATALOGUE {
        if setting.heading != heading {
            heading = setting.heading;
            text.push_str(&format!(
                "\n### {heading}\n\n| variable | flag | default | in the file of hot settings | meaning |\n|---|---|---|---|---|\n"
            ));
        }
        let hot = hot_name(setting.variable).map(|name| format!("`{name}`")).unwrap_or_default();
        text.push_str(&format!(
            "| `{}` | `--{} {}` | {} | {hot} | {} |\n",
            setting.variable,
            setting.flag(),
            setting.value,
            cell(setting.default),
            cell(setting.help)
        ));
    }
    text
}

/// What a setting is called in the file of hot settings, with what it stands below.
fn hot_name(variable: &str) -> Option<String> {
    if let Some(bound) = BOUNDS.iter().find(|bound| bound.variable == variable) {
        return Some(format!("limits.{}", Bound::key(bound)));
    }
    if let Some(field) = DRAIN_FIELDS.iter().find(|field| field.variable == variable) {
        return Some(format!("drain.{}", field.key));
    }
    let name = match variable {
        "WSC_ALLOWED_ORIGINS" => "allowed_origins",
        "WSC_LOG" => "log_level",
        "WSC_CLIENT_SEND" => "client_send",
        "WSC_MAX_CONNECTIONS" => "max_connections",
        _ => return None,
    };
    Some(name.to_owned())
}

/// Text that ends no cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_row_and_every_hot_one_its_name() {
        let text = markdown();
        for setting in CATALOGUE {
            assert_eq!(
                text.matches(&format!("| `{}` |", setting.variable)).count(),
                1,
                "{}",
                setting.variable
            );
        }
        let rows = text.lines().filter(|line| line.starts_with("| `"));
        assert!(rows.clone().all(|row| row.replace("\\|", "").matches(" | ").count() == 4), "{text}");
        let hot =
            rows.filter(|row| row.split(" | ").nth(3).is_some_and(|cell| cell.starts_with('`'))).count();
        assert_eq!(hot, BOUNDS.len() + DRAIN_FIELDS.len() + 4);
    }
}
