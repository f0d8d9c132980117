//! Stories of series and what is read of them.

use super::*;
use expect_test::{Expect, expect};
use hepalert_phases::Organs;

fn stack(description: &str, contrast: bool, acquired: &str, slices: usize) -> Stack {
    Stack {
        content: Digest::of(format!("{description}{acquired}{slices}").as_bytes()),
        refused: None,
        description: description.into(),
        protocol: String::new(),
        contrast,
        acquired_ms: acquired.parse::<i64>().ok().map(|seconds| seconds * 30_000),
        slices,
        coverage_mm: 200.0,
        recon: Recon::default(),
    }
}

fn seen(probabilities: [f64; 6], aorta: f32, liver: f32) -> Seen {
    let organs = Organs {
        aorta_hu: Some(aorta),
        liver_hu: Some(liver),
        liver_cm3: 900.0,
        ..Organs::default()
    };
    Seen { organs, probabilities }
}

fn native() -> Seen {
    seen([0.98, 0.0, 0.0, 0.0, 0.01, 0.01], 42.0, 55.0)
}

fn arterial() -> Seen {
    seen([0.01, 0.1, 0.87, 0.01, 0.0, 0.01], 310.0, 60.0)
}

fn portal() -> Seen {
    seen([0.01, 0.0, 0.01, 0.9, 0.07, 0.01], 150.0, 110.0)
}

fn delayed() -> Seen {
    seen([0.01, 0.0, 0.0, 0.06, 0.92, 0.01], 105.0, 90.0)
}

fn told(stacks: &[Stack], images: &[Option<Seen>], expected: &[Phase]) -> String {
    let rules = PhaseRules::default();
    let at = match candidates(stacks, &rules) {
        Ok(at) => at,
        Err(code) => return format!("{code}\n"),
    };
    let scans: Vec<Scan> = at.iter().map(|&at| scan(&stacks[at], &rules)).collect();
    let images: Vec<Option<&Seen>> =
        at.iter().map(|&at| images.get(at).and_then(Option::as_ref)).collect();
    match choose(&scans, &images, expected).choices {
        Err(code) => format!("{code}\n"),
        Ok(chosen) => chosen
            .iter()
            .map(|c| {
                let (source, sure) = (c.source.as_str(), c.confidence.as_str());
                format!("{} = {} ({source}, {sure})\n", c.phase, stacks[at[c.at]].description)
            })
            .collect(),
    }
}

fn check(stacks: &[Stack], expected: &[Phase], want: Expect) {
    want.assert_eq(&told(stacks, &[], expected));
}

#[test]
fn four_phases_by_their_words() {
    let stacks = [
        stack("Abdomen arterial 5.0", true, "1", 40),
        stack("Abd nativ 5.0", false, "0", 40),
        stack("Leber portal-venös 5,0", true, "2", 40),
        stack("Abdomen delayed 3min", true, "3", 40),
        stack("Abdomen arterial lung 1.0", true, "1", 200),
    ];
    let mut stacks = stacks;
    stacks[4].recon.fitness = Fitness::Sharp;
    check(
        &stacks,
        &Phase::ALL,
        expect![[r#"
        nc = Abd nativ 5.0 (description, high)
        ap = Abdomen arterial 5.0 (description, high)
        vp = Leber portal-venös 5,0 (description, high)
        dp = Abdomen delayed 3min (description, high)
    "#]],
    );
}

#[test]
fn the_site_has_the_first_word() {
    let rule =
        Rule::new(Ruled::Phase(Phase::Dp), &[(rules::Field::SeriesDescription, "Protokoll 7")]);
    let rules = PhaseRules { rules: vec![rule.unwrap()] };
    let scan = scan(&stack("x PROTOKOLL 7 arterial", true, "1", 40), &rules);
    assert_eq!(scan.named, [Witness { phase: Phase::Dp, by: Namer::Rule(1), weight: RULE }]);
    let never = Rule::new(Ruled::Never, &[(rules::Field::SeriesDescription, "perfusion")]).unwrap();
    let rules = PhaseRules { rules: vec![never] };
    let stacks = [stack("Perfusion", true, "1", 40), stack("venous", true, "2", 40)];
    assert_eq!(candidates(&stacks, &rules), Ok(vec![1]));
}

#[test]
fn a_single_phase_engine_takes_what_fits() {
    check(
        &[stack("Abdomen 5.0", true, "1", 40)],
        &[Phase::Vp],
        expect![[r#"
        vp = Abdomen 5.0 (only_series, low)
    "#]],
    );
    let recons = [stack("Abd 5.0", true, "1", 40), stack("Abd 1.0", true, "1", 200)];
    check(
        &recons,
        &[Phase::Vp],
        expect![[r#"
        vp = Abd 1.0 (order, low)
    "#]],
    );
    let two = [stack("Abd", false, "1", 40), stack("Abd km", true, "2", 40)];
    check(
        &two,
        &[Phase::Vp],
        expect![[r#"
        phase_uncertain
    "#]],
    );
    check(
        &two,
        &[Phase::Nc],
        expect![[r#"
        phase_uncertain
    "#]],
    );
    check(
        &[stack("arterial", true, "1", 40)],
        &[Phase::Vp],
        expect![[r#"
        missing_phase
    "#]],
    );
    let three = [stack("a", true, "1", 40), stack("b", true, "2", 40), stack("c", true, "3", 40)];
    check(
        &three,
        &[Phase::Vp],
        expect![[r#"
        phase_uncertain
    "#]],
    );
}

#[test]
fn unnamed_phases_go_by_order_where_the_clock_leaves_one() {
    let four = [
        stack("s4", true, "900", 40),
        stack("s1", false, "0", 40),
        stack("s3", true, "20", 40),
        stack("s2", true, "10", 40),
    ];
    check(
        &four,
        &Phase::ALL,
        expect![[r#"
        nc = s1 (order, medium)
        ap = s2 (order, low)
        vp = s3 (order, low)
        dp = s4 (order, medium)
    "#]],
    );
    // The third of four is the portal one, whoever asks.
    check(
        &four,
        &[Phase::Vp],
        expect![[r#"
        vp = s3 (order, low)
    "#]],
    );
    check(
        &four[..3],
        &Phase::ALL,
        expect![[r#"
        phase_uncertain
    "#]],
    );
    let timeless = four.clone().map(|s| Stack { acquired_ms: None, contrast: true, ..s });
    check(
        &timeless,
        &[Phase::Vp],
        expect![[r#"
        phase_uncertain
    "#]],
    );
    let contradiction = [
        stack("x", true, "5", 40),
        stack("nativ", false, "4", 40),
        stack("y", true, "3", 40),
        stack("venous", true, "2", 40),
    ];
    check(
        &contradiction,
        &Phase::ALL,
        expect![[r#"
        phase_uncertain
    "#]],
    );
}

#[test]
fn images_decide_where_names_are_silent_or_wrong() {
    // A real examination: names of the archive, no times.
    let liver3 = [
        stack("PRE LIVER", false, "", 48),
        stack("Recon 2: LIVER 3 PHASE (AP)", false, "", 89),
        stack("LIVER 3 PHASE (AP)", false, "", 89),
    ];
    let images = [Some(native()), Some(arterial()), Some(portal())];
    expect![[r#"
        vp = LIVER 3 PHASE (AP) (images, high)
    "#]]
    .assert_eq(&told(&liver3, &images, &[Phase::Vp]));
    // A native scan that is called venous: the images decide.
    let lying = [stack("Abdomen venous", true, "1", 40)];
    expect![[r#"
        phase_uncertain
    "#]]
    .assert_eq(&told(&lying, &[Some(native())], &[Phase::Vp]));
    expect![[r#"
        vp = Abdomen venous (names_and_images, high)
    "#]]
    .assert_eq(&told(&lying, &[Some(portal())], &[Phase::Vp]));
    // Arterial and venous exchanged by the technician.
    let exchanged = [stack("arterial", true, "1", 40), stack("venous", true, "2", 40)];
    let images = [Some(portal()), Some(arterial())];
    expect![[r#"
        phase_uncertain
    "#]]
    .assert_eq(&told(&exchanged, &images, &[Phase::Vp]));
    // Two reconstructions of the portal phase without a clock are one acquisition.
    let twice = [stack("a", true, "", 40), stack("b", true, "", 200), stack("c", true, "", 40)];
    let images = [Some(portal()), Some(portal()), Some(delayed())];
    expect![[r#"
        vp = b (images, high)
        dp = c (images, high)
    "#]]
    .assert_eq(&told(&twice, &images, &[Phase::Vp, Phase::Dp]));
}

#[test]
fn what_is_no_phase_is_set_aside_and_says_why_when_nothing_remains() {
    let aside = |code| Stack { refused: Some(code), ..stack("x", true, "1", 40) };
    let scout = aside(RefusalCode::Localiser);
    let both = [scout.clone(), stack("venous", true, "1", 40)];
    assert_eq!(candidates(&both, &PhaseRules::default()), Ok(vec![1]));
    check(
        std::slice::from_ref(&scout),
        &[Phase::Vp],
        expect![[r#"
        localiser
    "#]],
    );
    check(
        &[aside(RefusalCode::NotCt), scout],
        &[Phase::Vp],
        expect![[r#"
        localiser
    "#]],
    );
    check(
        &[aside(RefusalCode::NotCt)],
        &[Phase::Vp],
        expect![[r#"
        not_ct
    "#]],
    );
    check(
        &[],
        &[Phase::Vp],
        expect![[r#"
        no_ct_series
    "#]],
    );
    let tracker = [stack("venous tracker", true, "1", 3), stack("venous", true, "2", 40)];
    assert_eq!(candidates(&tracker, &PhaseRules::default()), Ok(vec![1]));
}

#[test]
fn nifti_files_are_phases_by_name() {
    let pick = |tags: &[Tag], expected: &[Phase]| {
        choose_named(tags, expected).map(|c| c.iter().map(|c| c.at).collect::<Vec<_>>())
    };
    let (vp, missing) = ([Phase::Vp], Err(RefusalCode::MissingPhase));
    assert_eq!(pick(&[Tag::Sole], &vp), Ok(vec![0]));
    assert_eq!(pick(&[Tag::Channel(0)], &vp), Ok(vec![0]));
    let four = [Tag::Channel(3), Tag::Channel(1), Tag::Channel(0), Tag::Channel(2)];
    assert_eq!(pick(&four, &Phase::ALL), Ok(vec![2, 1, 3, 0]));
    assert_eq!(pick(&four, &vp), Ok(vec![3]));
    assert_eq!(pick(&four[..3], &Phase::ALL), missing);
    assert_eq!(pick(&[Tag::Sole, Tag::Phase(Phase::Vp)], &vp), Ok(vec![1]));
    assert_eq!(pick(&[Tag::Phase(Phase::Ap)], &vp), missing);
    assert_eq!(pick(&[Tag::Channel(2)], &vp), Ok(vec![0]));
    assert_eq!(pick(&[Tag::Sole], &Phase::ALL), missing);
}
