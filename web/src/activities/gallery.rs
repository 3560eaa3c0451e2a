//! Choosing another model: the settings.

use basin_protocol::{Model, Plan};

use super::{Activity, Pairs, dream::Dream};
use crate::address::{escape, unescape};

/// The lists that are shown beside the page's own, by their addresses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gallery {
    pub lists: Vec<String>,
}

/// Most lists of a link.
const MOST_LISTS: usize = 20;

impl Activity for Gallery {
    /// Nothing runs here; what a model is first seen at is a dream.
    fn plan(&self, model: &Model) -> Plan {
        Dream::default().plan(model)
    }

    fn write(&self, _: Option<&Model>, pairs: &mut Pairs) {
        pairs.extend(self.lists.iter().map(|list| ("list", escape(list))));
    }

    fn read(&mut self, name: &str, value: &str) -> Result<bool, String> {
        if name != "list" {
            return Ok(false);
        }
        if self.lists.len() == MOST_LISTS {
            return Err(format!("{MOST_LISTS} lists at most"));
        }
        let list = unescape(value);
        if list.trim().is_empty() || list.contains(char::is_control) {
            return Err("the address of a list".into());
        }
        self.lists.push(list);
        Ok(true)
    }
}
