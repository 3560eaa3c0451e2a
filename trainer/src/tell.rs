//! Lines for whoever reads them. The standard macros panic where nobody does any more.

/// A line on the standard output: results.
macro_rules! say {
    ($($told:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($told)*);
    }};
}

/// A line on the standard error: how it goes.
macro_rules! tell {
    ($($told:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($told)*);
    }};
}
