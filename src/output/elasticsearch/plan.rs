//! What is known of a target's documents before any value is: which series share one, and all of its text but the values.

use md5::{Digest, Md5};

use super::encode::{Encoder, INDEX_LIMIT};
use super::index::Destinations;
use super::shapes::{Pairs, template_beside_pattern};
use crate::model::{Origin, SeriesRef};
use crate::output::json::{self, Outline, Slot, Tag, string};

/// The documents of one target's series.
#[derive(Default)]
pub(super) struct Plan {
    /// Which series share one. Keys are `"name":`, the text of a group is its measurement's name, a JSON string.
    pub outline: Outline<Own>,
    /// By series: the fragment that names its dynamic template, where its name alone would choose another; else [`NONE`].
    templates: Vec<u32>,
}

/// Series that share a document when they share a time.
pub(super) type Group = json::Group<Own>;

/// What is known of a group's documents besides their text.
pub(super) struct Own {
    /// The fragment of what decides their shard.
    routing: u32,
    /// Where they go.
    pub destination: u32,
    /// Whether any of the series has a dynamic template of its own.
    pub has_templates: bool,
    /// A hash of measurement and labels: the same in every process and version.
    identity: u128,
    /// A hash of the names of all fields, whatever their order.
    pub names: u64,
}

/// No fragment.
const NONE: u32 = u32::MAX;

impl Own {
    /// What tells a group's documents from those of others: a hash of labels, measurement and the names of all fields.
    pub(super) fn identity(&self) -> u128 {
        // An odd factor loses nothing of the names' hash, and spreads it over all bits.
        self.identity ^ u128::from(self.names).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }
}

impl Plan {
    /// What decides the shard of a group's documents, a JSON string; `None` where nothing does.
    pub(super) fn routing(&self, group: &Group) -> Option<&[u8]> {
        (group.own.routing != NONE).then(|| self.outline.text(group.own.routing))
    }

    /// `"metrics.name":"template",` of a series whose name alone would choose another template.
    pub(super) fn template(&self, series: u32) -> Option<&[u8]> {
        let template = self.templates[series as usize];
        (template != NONE).then(|| self.outline.text(template))
    }

    /// Adds the next series. `labels` is memory that is used again.
    pub(super) fn add<'a>(
        &mut self,
        series: SeriesRef<'a>,
        origin: &'a Origin,
        encoder: &'a Encoder,
        labels: &mut Pairs<'a>,
        to: &mut Destinations,
    ) {
        let place = encoder.shape.place(series, origin, labels);
        let outline = &mut self.outline;
        let Some(destination) = to.of(&encoder.index, labels, encoder.indexes_max) else {
            self.templates.push(NONE);
            return outline.refuse(INDEX_LIMIT);
        };
        let key = outline.intern(|out| {
            string(out, &place.field);
            out.push(b':');
        });
        let template = template_beside_pattern(series).filter(|_| encoder.shape.has_names_hash());
        let template = template.map(|template| {
            outline.intern(|out| {
                string(out, &format!("metrics.{}", place.field));
                out.extend_from_slice(format!(":\"{template}\",").as_bytes());
            })
        });
        let measurement = outline.intern(|out| string(out, place.measurement));
        let routing = encoder.routing.as_ref().map(|routing| routing.with(labels)).filter(|text| !text.is_empty());
        let routing = routing.map_or(NONE, |text| outline.intern(|out| string(out, &text)));
        outline.read_labels(labels.iter().map(|(name, value)| (*name, &**value)));
        let mut tag = Tag { text: measurement, copy: 0, part: series.group() };
        let group = loop {
            let group = outline.group_like(tag, |outline| Own {
                routing,
                destination,
                has_templates: false,
                identity: identity(outline, measurement),
                // Copies of a group may hold the same names, and must not be one point to the receiver.
                names: u64::from(tag.copy),
            });
            if outline.take(Slot { group, key }) {
                break group;
            }
            tag.copy += 1;
        };
        self.templates.push(template.unwrap_or(NONE));
        let own = outline.own(group);
        own.has_templates |= template.is_some();
        own.names = own.names.wrapping_add(name_hash(place.field.as_bytes()));
    }
}

/// It becomes a part of ids, so it must be the same in every process and version: of the JSON text of the measurement and the
/// labels that were read last, in the order of their names.
fn identity(outline: &Outline<Own>, measurement: u32) -> u128 {
    let mut hash = Md5::new();
    hash.update(outline.text(measurement));
    for label in outline.labels_read() {
        hash.update(label);
    }
    u128::from_be_bytes(hash.finalize().into())
}

/// A hash of a field's name that is the same in every process and version: it becomes part of a series' identity in the
/// receiver. FNV-1a, then the finaliser of MurmurHash3, so that sums of it stay apart.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    let mut hash = name
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    for factor in [0xff51_afd7_ed55_8ccd_u64, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
    }
    hash ^ (hash >> 33)
}
