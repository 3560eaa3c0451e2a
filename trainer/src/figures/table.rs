//! A table of figures for a terminal.

/// Lines of aligned columns: a name, then a number or nothing for each model. A row of no numbers is a heading.
pub(crate) fn table(heads: &[String], rows: &[(String, Vec<Option<f64>>)]) -> Vec<String> {
    let width = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
    let first = width(&mut rows.iter().map(|(name, _)| name.chars().count() + 2));
    let columns: Vec<usize> = heads
        .iter()
        .map(|head| head.chars().count().max(10))
        .collect();
    let cells = |texts: Vec<String>| -> String {
        let padded = texts.iter().zip(&columns);
        padded
            .map(|(text, width)| format!("  {text:>width$}"))
            .collect()
    };
    let mut lines = vec![format!("{:<first$}{}", "", cells(heads.to_vec()))];
    for (name, values) in rows {
        lines.push(match values.is_empty() {
            true => name.clone(),
            false => {
                let texts = values.iter().map(|value| value.map_or("–".into(), shown));
                format!("{:<first$}{}", format!("  {name}"), cells(texts.collect()))
            }
        });
    }
    lines
}

/// A count as a count, anything else with four digits, or three that count where it is small.
pub(crate) fn shown(value: f64) -> String {
    match value.abs() {
        size if value.fract() == 0.0 && size > 1.0 => format!("{value:.0}"),
        size if 0.0 < size && size < 1e-3 => format!("{value:.2e}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_what_is_missing_is_a_dash() {
        let heads = ["small".to_owned(), "a longer name".to_owned()];
        let rows = [
            ("clean accuracy".to_owned(), vec![]),
            ("clean_accuracy".to_owned(), vec![Some(0.75), Some(0.5)]),
            ("images".to_owned(), vec![Some(10_000.0), None]),
            ("kernel_distance".to_owned(), vec![Some(0.0), Some(-2e-4)]),
        ];
        assert_eq!(
            table(&heads, &rows),
            [
                "                        small  a longer name",
                "clean accuracy",
                "  clean_accuracy       0.7500         0.5000",
                "  images                10000              –",
                "  kernel_distance      0.0000       -2.00e-4",
            ]
        );
    }
}
