//! `scrape_protocols` and its like: which formats targets are asked for, and what is made of the answers.
//!
//! The words, defaults and relations are those of Prometheus 3 (`config/config.go`), with one difference on purpose:
//! `fallback_scrape_protocol` has a default, so that an answer without a known content type is read and not refused.

use super::fields::Fields;

/// A format that can be asked for, in Prometheus' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScrapeProtocol {
    /// Delimited protobuf.
    PrometheusProto,
    /// OpenMetrics 1.0.0.
    OpenMetricsText1_0_0,
    /// OpenMetrics 0.0.1.
    OpenMetricsText0_0_1,
    /// Text format 1.0.0, with UTF-8 names.
    PrometheusText1_0_0,
    /// Text format 0.0.4.
    PrometheusText0_0_4,
}

/// The words for the protocols, best first: the order in which they are asked for by default.
pub(super) const PROTOCOLS: [&str; 5] =
    ["PrometheusProto", "OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"];

impl ScrapeProtocol {
    /// All of them, best first.
    const ALL: [Self; 5] = [
        Self::PrometheusProto,
        Self::OpenMetricsText1_0_0,
        Self::OpenMetricsText0_0_1,
        Self::PrometheusText1_0_0,
        Self::PrometheusText0_0_4,
    ];

    /// What is asked for where the configuration does not say: protobuf only where native histograms are wanted.
    pub fn defaults(native_histograms: bool) -> Vec<Self> {
        Self::ALL[usize::from(!native_histograms)..].to_vec()
    }
}

/// What a target that knows `escaping=` makes of names that are more than letters, digits, `_` and `:`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escaping {
    /// They stay as they are, in quotes.
    #[default]
    AllowUtf8,
    /// Other characters become `_`.
    Underscores,
    /// `.` becomes `_dot_`, `_` becomes `__`, other characters `__`.
    Dots,
    /// Other characters become their number, behind a `U__`.
    Values,
}

/// The words for the schemes.
pub(super) const ESCAPINGS: [&str; 4] = ["allow-utf-8", "underscores", "dots", "values"];

impl Escaping {
    const ALL: [Self; 4] = [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    /// The word for it, in the configuration and in an `Accept` header.
    pub fn word(self) -> &'static str {
        ESCAPINGS[self as usize]
    }
}

/// Which names series may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameValidation {
    /// Any text.
    #[default]
    Utf8,
    /// Letters, digits and `_`, for metrics `:` too; a series with another name fails its scrape, as in Prometheus.
    Legacy,
}

/// The words for them.
pub(super) const VALIDATIONS: [&str; 2] = ["utf8", "legacy"];

/// Which formats targets are asked for, and what is made of the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiation {
    /// What is asked for, best first; at least one, none twice.
    pub protocols: Vec<ScrapeProtocol>,
    /// How an answer is read that does not say what it is.
    pub fallback: ScrapeProtocol,
    /// What targets are asked to make of names that need quotes.
    pub escaping: Escaping,
    /// Which names series may have.
    pub validation: NameValidation,
    /// Whether native histograms are read.
    pub native_histograms: bool,
    /// Whether a histogram that is read as a native one gives its classic series too.
    pub always_classic_histograms: bool,
}

impl Default for Negotiation {
    /// As where the configuration says nothing.
    fn default() -> Self {
        Self {
            protocols: ScrapeProtocol::defaults(false),
            fallback: ScrapeProtocol::PrometheusText0_0_4,
            escaping: Escaping::default(),
            validation: NameValidation::default(),
            native_histograms: false,
            always_classic_histograms: false,
        }
    }
}

/// What `global` says of it, for scrape configurations that do not.
pub struct Inherited {
    protocols: Option<Vec<ScrapeProtocol>>,
    escaping: Escaping,
    validation: NameValidation,
    native_histograms: bool,
    always_classic_histograms: bool,
}

/// Reads `global`.
pub fn inherited(fields: &Fields<'_>) -> Inherited {
    let validation = validation(fields).unwrap_or_default();
    let escaping = escaping(fields).unwrap_or(implied(validation));
    refuse_contradiction(fields, escaping, validation);
    Inherited {
        protocols: protocols(fields),
        escaping,
        validation,
        native_histograms: fields.switch("scrape_native_histograms"),
        always_classic_histograms: fields.switch("always_scrape_classic_histograms"),
    }
}

/// Reads an entry of `scrape_configs`.
pub fn negotiation(fields: &Fields<'_>, inherited: &Inherited) -> Negotiation {
    let native_histograms = fields.optional_switch("scrape_native_histograms").unwrap_or(inherited.native_histograms);
    let own = (validation(fields), escaping(fields));
    let validation = own.0.unwrap_or(inherited.validation);
    // Whoever sets only the validation means names that fit it.
    let escaping = own.1.unwrap_or(if own.0.is_some() { implied(validation) } else { inherited.escaping });
    if own != (None, None) {
        refuse_contradiction(fields, escaping, validation);
    }
    let protocols = protocols(fields).or_else(|| inherited.protocols.clone());
    Negotiation {
        protocols: protocols.unwrap_or_else(|| ScrapeProtocol::defaults(native_histograms)),
        fallback: fields
            .choice("fallback_scrape_protocol", &pairs(&PROTOCOLS, &ScrapeProtocol::ALL))
            .unwrap_or(ScrapeProtocol::PrometheusText0_0_4),
        escaping,
        validation,
        native_histograms,
        always_classic_histograms: fields
            .optional_switch("always_scrape_classic_histograms")
            .unwrap_or(inherited.always_classic_histograms),
    }
}

fn pairs<T: Copy>(words: &[&'static str], values: &[T]) -> Vec<(&'static str, T)> {
    words.iter().copied().zip(values.iter().copied()).collect()
}

fn protocols(fields: &Fields<'_>) -> Option<Vec<ScrapeProtocol>> {
    fields.refuse_empty_list("scrape_protocols");
    fields.choices("scrape_protocols", &pairs(&PROTOCOLS, &ScrapeProtocol::ALL))
}

fn escaping(fields: &Fields<'_>) -> Option<Escaping> {
    fields.choice("metric_name_escaping_scheme", &pairs(&ESCAPINGS, &Escaping::ALL))
}

fn validation(fields: &Fields<'_>) -> Option<NameValidation> {
    let values = [NameValidation::Utf8, NameValidation::Legacy];
    fields.choice("metric_name_validation_scheme", &pairs(&VALIDATIONS, &values))
}

fn implied(validation: NameValidation) -> Escaping {
    match validation {
        NameValidation::Utf8 => Escaping::AllowUtf8,
        NameValidation::Legacy => Escaping::Underscores,
    }
}

fn refuse_contradiction(fields: &Fields<'_>, escaping: Escaping, validation: NameValidation) {
    if escaping == Escaping::AllowUtf8 && validation == NameValidation::Legacy {
        fields.note(
            "metric_name_escaping_scheme",
            "allow-utf-8 asks for names that metric_name_validation_scheme: legacy refuses; write underscores, dots or values",
        );
    }
}
