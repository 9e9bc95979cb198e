//! What a command says, for people and for programs.

use serde_json::Value;

use super::arguments::Format;
use super::error::KubectlError;

/// An answer in both forms.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// For people, ending in a line break.
    pub text: String,
    /// For programs.
    pub json: Value,
}

impl Answer {
    /// The form asked for.
    ///
    /// # Errors
    /// When the JSON cannot be written, which no value of this program causes.
    pub fn print(self, format: Format) -> Result<String, KubectlError> {
        match format {
            Format::Text => Ok(self.text),
            Format::Json => serde_json::to_string_pretty(&self.json)
                .map(|text| text + "\n")
                .map_err(|source| KubectlError::Json { what: "the answer", source }),
        }
    }
}

/// Rows under a header, in columns. An empty cell is shown as `-`.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = header.map(|name| name.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| {
            let cell = if cell.is_empty() { "-" } else { cell };
            format!("{cell:<width$}", width = *width)
        });
        padded.collect::<Vec<_>>().join("   ").trim_end().to_owned() + "\n"
    };
    let mut text = line(header.to_vec());
    for row in rows {
        text.push_str(&line(row.iter().map(String::as_str).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["chat-0".to_owned(), String::new()], ["chat-10".to_owned(), "7".to_owned()]];
        assert_eq!(table(["NODE", "N"], &rows), "NODE      N\nchat-0    -\nchat-10   7\n");
    }
}
