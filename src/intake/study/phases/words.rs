//! Words that name a contrast phase, in the languages that scanners are set up in.
//!
//! Owns the lists and what counts as a word. Refuses to choose between two phases in one text:
//! that text names an examination, not a phase.

use hepalert_study::phase::Phase;

use super::Confidence;

/// What one text of a header says of the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    /// Which phase.
    pub phase: Phase,
    /// [`Confidence::High`] for a word, [`Confidence::Medium`] for an abbreviation or seconds.
    pub confidence: Confidence,
}

/// Words that name a phase whenever they stand alone; accents are taken off before.
const STRONG: [(Phase, &[&str]); 4] = [
    (
        Phase::Nc,
        &[
            "native",
            "nativ",
            "nativo",
            "nativa",
            "natif",
            "unenhanced",
            "noncontrast",
            "noncon",
            "plain",
            "precontrast",
            "ncct",
            "without",
            "ohne",
            "nonenhanced",
            "unkontrastiert",
            "sans",
            "senza",
            "sem",
            "basale",
            "basal",
            "diretta",
            "blanco",
            "blanko",
            "vuoto",
            "natywna",
            "natywne",
            "nativni",
            "noninjecte",
            "нативная",
            "бесконтрастная",
        ],
    ),
    (
        Phase::Ap,
        &[
            "arterial",
            "arteriell",
            "arterielle",
            "arteriel",
            "arteriele",
            "arterieel",
            "artphase",
            "arteriosa",
            "arterioso",
            "arteriale",
            "arterica",
            "tetnicza",
            "arterialni",
            "артериальная",
        ],
    ),
    (
        Phase::Vp,
        &[
            "venous",
            "venos",
            "venoes",
            "venose",
            "portal",
            "portale",
            "portalvenous",
            "portovenous",
            "portovenos",
            "portalvenos",
            "portvenos",
            "pvp",
            "veneuse",
            "veineuse",
            "veineux",
            "venosa",
            "venoso",
            "veneus",
            "portaal",
            "portalna",
            "portalni",
            "wrotna",
            "zylna",
            "портальная",
            "венозная",
        ],
    ),
    (
        Phase::Dp,
        &[
            "delayed",
            "equilibrium",
            "equilibre",
            "equilibrio",
            "excretory",
            "excretion",
            "excretoria",
            "spatphase",
            "spaetphase",
            "tardif",
            "tardive",
            "tardiva",
            "tardivo",
            "tardia",
            "tardio",
            "vertraagd",
            "opozniona",
            "eliminazione",
            "отсроченная",
        ],
    ),
];

/// Scripts without spaces between words.
const INSIDE: [(Phase, &[&str]); 4] = [
    (Phase::Nc, &["平扫", "平掃", "単純", "造影前"]),
    (Phase::Ap, &["动脉", "動脈", "동맥"]),
    (Phase::Vp, &["门脉", "门静脉", "門脈", "静脉期", "문맥"]),
    (Phase::Dp, &["延迟", "平衡", "遅延", "지연"]),
];

/// Abbreviations, believed only when no strong word stands beside them. `AP` is none of them:
/// it names the abdomen and pelvis, and a scout's view.
const WEAK: [(Phase, &[&str]); 4] = [
    (Phase::Nc, &["nc", "wo", "pre", "c-", "nat"]),
    (Phase::Ap, &["art", "hap", "arter"]),
    (Phase::Vp, &["vp", "pv", "ven", "port", "venport", "portven"]),
    (Phase::Dp, &["dp", "late", "delay", "spat", "spaet", "tard", "del"]),
];

/// Seconds after injection that a description may give, first and last of a phase.
const SECONDS: [(Phase, [u32; 2]); 3] =
    [(Phase::Ap, [15, 48]), (Phase::Vp, [52, 105]), (Phase::Dp, [120, 900])];

/// What a text says of the phase; `None` if nothing, or two things.
pub(crate) fn said(text: &str) -> Option<Said> {
    let words = words(text);
    if with_and_without(&words) {
        return None;
    }
    let found = |table: &[(Phase, &[&str])]| -> Vec<Phase> {
        let says = |names: &[&str]| words.iter().any(|word| names.contains(&word.as_str()));
        table.iter().filter(|(_, names)| says(names)).map(|(phase, _)| *phase).collect()
    };
    let inside = INSIDE.iter().filter(|(_, names)| names.iter().any(|name| text.contains(name)));
    let mut strong = found(&STRONG);
    strong.extend(inside.map(|(phase, _)| *phase));
    if !strong.is_empty() {
        return only(&strong, Confidence::High);
    }
    let mut weak = found(&WEAK);
    weak.extend(seconds(&words));
    only(&weak, Confidence::Medium)
}

fn only(phases: &[Phase], confidence: Confidence) -> Option<Said> {
    let (&phase, rest) = phases.split_first()?;
    rest.iter().all(|other| *other == phase).then_some(Said { phase, confidence })
}

/// True if the text names a region with the chest in it: such a scan is made once, in the
/// portal venous phase as a rule.
pub(crate) fn with_chest(text: &str) -> bool {
    let words = words(text);
    let says = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    let chest = says(&["ch", "chest", "thorax", "thx", "torace", "torax", "tho"]);
    let abdomen = says(&["ab", "abd", "abdomen", "abdo", "addome", "pel", "pelvis", "becken"]);
    says(&["cap", "tap"]) || chest && abdomen
}

/// True for kernels, maps and regions in which no liver is read.
pub(crate) fn unsuited(text: &str) -> bool {
    const WORDS: [&str; 22] = [
        "lung", "lungs", "lunge", "poumon", "polmone", "pulmon", "bone", "knochen", "os", "osso",
        "sharp", "edge", "vnc", "iodine", "iod", "mono", "kev", "zeff", "overlay", "spectral",
        "detail", "boneplus",
    ];
    words(text).iter().any(|word| WORDS.contains(&word.as_str()))
}

/// The words of a text: lower case, without accents, parted where case or kind of character
/// changes; pairs that mean one word are joined.
pub(crate) fn words(text: &str) -> Vec<String> {
    let text = plain(&parted(text));
    let joined = text
        .replace("w/o", " wo ")
        .replace("non-contrast", " noncontrast ")
        .replace("non contrast", " noncontrast ")
        .replace("pre-contrast", " precontrast ")
        .replace("pre contrast", " precontrast ")
        .replace("non injecte", " noninjecte ")
        .replace("non enhanced", " nonenhanced ")
        .replace("ohne km", " ohne ");
    let apart = |c: char| !(c.is_alphanumeric() || c == '-');
    let mut words: Vec<String> = Vec::new();
    for word in joined.split(apart).filter(|word| !word.is_empty()) {
        match word {
            "c-" => words.push(word.to_owned()),
            _ => words.extend(word.split('-').filter(|w| !w.is_empty()).map(str::to_owned)),
        }
    }
    words
}

/// Spaces where a word ends without one: `AbdPortalVenous`, `Abd70s`.
fn parted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut before = ' ';
    for c in text.chars() {
        let camel = before.is_lowercase() && c.is_uppercase();
        let number = before.is_alphabetic() && c.is_ascii_digit();
        if camel || number {
            out.push(' ');
        }
        out.push(c);
        before = c;
    }
    out
}

/// Lower case without accents, as far as the lists need it.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.to_lowercase().chars() {
        match c {
            'á' | 'à' | 'â' | 'ã' | 'ä' => out.push('a'),
            'é' | 'è' | 'ê' | 'ë' | 'ę' => out.push('e'),
            'í' | 'ì' | 'î' | 'ï' => out.push('i'),
            'ó' | 'ò' | 'ô' | 'õ' | 'ö' => out.push('o'),
            'ú' | 'ù' | 'û' | 'ü' => out.push('u'),
            'ż' | 'ź' => out.push('z'),
            'ł' => out.push('l'),
            'ń' | 'ñ' => out.push('n'),
            'ß' => out.push_str("ss"),
            c => out.push(c),
        }
    }
    out
}

/// "Abdomen w/wo contrast" names an examination, not a phase.
fn with_and_without(words: &[String]) -> bool {
    let has = |list: &[&str]| words.iter().any(|word| list.contains(&word.as_str()));
    has(&["with", "w", "mit", "avec", "con"])
        && has(&["without", "wo", "ohne", "sans", "senza", "sin"])
}

/// Phases of whole seconds or minutes after injection.
fn seconds(words: &[String]) -> Vec<Phase> {
    let unit = |text: &str| match text {
        "s" | "sec" | "secs" | "sek" | "seconds" => Some(1),
        "min" | "mins" | "minutes" => Some(60),
        _ => None,
    };
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let digits = word.chars().take_while(char::is_ascii_digit).count();
        let (number, rest) = word.split_at(digits);
        let next = words.get(at + 1).map_or("", String::as_str);
        let scale = if rest.is_empty() { unit(next) } else { unit(rest) };
        let (Ok(number), Some(scale)) = (number.parse::<u32>(), scale) else { continue };
        let after = number.saturating_mul(scale);
        let phase = SECONDS.iter().find(|(_, [from, to])| (*from..=*to).contains(&after));
        found.extend(phase.map(|(phase, _)| *phase));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn table(texts: &[&str]) -> String {
        let line = |text: &&str| {
            let said = said(text);
            let said =
                said.map_or("-".to_owned(), |s| format!("{} {}", s.phase, s.confidence.as_str()));
            format!("{text}: {said}\n")
        };
        texts.iter().map(line).collect()
    }

    #[test]
    fn words_are_believed_only_when_clear() {
        let texts = [
            "ABD W/O",
            "Abdomen w/wo contrast",
            "Abd with and without",
            "CT AP portal",
            "Scout AP",
            "C/A/P 5mm",
            "late arterial",
            "portal venous 70s",
            "arterial / venous",
            "pre-contrast",
            "C- 3.0",
            "late",
            "Thorax",
            "non contrast",
            "PV 1.25mm",
            "art+ven",
            "delay 180s",
            "LIVER 3 PHASE (AP)",
            "Liver native arterial portal delayed",
        ];
        expect![[r#"
            ABD W/O: nc medium
            Abdomen w/wo contrast: -
            Abd with and without: -
            CT AP portal: vp high
            Scout AP: -
            C/A/P 5mm: -
            late arterial: ap high
            portal venous 70s: vp high
            arterial / venous: -
            pre-contrast: nc high
            C- 3.0: nc medium
            late: dp medium
            Thorax: -
            non contrast: nc high
            PV 1.25mm: vp medium
            art+ven: -
            delay 180s: dp medium
            LIVER 3 PHASE (AP): -
            Liver native arterial portal delayed: -
        "#]]
        .assert_eq(&table(&texts));
    }

    #[test]
    fn words_of_other_languages_and_seconds_count() {
        let texts = [
            "FASE PORTALE",
            "FASE ARTERIOSA",
            "BASALE",
            "FASE TARDIVA",
            "PORTALE",
            "artériel",
            "temps tardif",
            "sans injection",
            "Abdomen nativ",
            "portalvenös",
            "Spätphase",
            "AbdPortalVenous",
            "AbdArterial5.0",
            "Abd 35s",
            "Abd 70s",
            "Abd 180s",
            "liver 3 min",
            "Abd 35s/70s",
            "0.5s 5.0",
            "LEBER_PV_5MM",
            "faza wrotna",
            "动脉期",
            "门脉期 5mm",
            "fase venosa",
            "fase de equilibrio",
            "basal",
            "sem contraste",
        ];
        expect![[r#"
            FASE PORTALE: vp high
            FASE ARTERIOSA: ap high
            BASALE: nc high
            FASE TARDIVA: dp high
            PORTALE: vp high
            artériel: ap high
            temps tardif: dp high
            sans injection: nc high
            Abdomen nativ: nc high
            portalvenös: vp high
            Spätphase: dp high
            AbdPortalVenous: vp high
            AbdArterial5.0: ap high
            Abd 35s: ap medium
            Abd 70s: vp medium
            Abd 180s: dp medium
            liver 3 min: dp medium
            Abd 35s/70s: -
            0.5s 5.0: -
            LEBER_PV_5MM: vp medium
            faza wrotna: vp high
            动脉期: ap high
            门脉期 5mm: vp high
            fase venosa: vp high
            fase de equilibrio: dp high
            basal: nc high
            sem contraste: nc high
        "#]]
        .assert_eq(&table(&texts));
    }

    #[test]
    fn what_is_no_phase_of_the_liver_is_told_by_its_words() {
        assert!(unsuited("Abdomen arterial lung 1.0") && unsuited("PV VNC 1.7"));
        assert!(!unsuited("Abdomen PV 5.0 Br40"));
        assert!(
            with_chest("CT CH/AB/PEL") && with_chest("CAP 5.0") && with_chest("Thorax-Abdomen")
        );
        assert!(!with_chest("LIVER 3 PHASE (AP)"));
    }
}
