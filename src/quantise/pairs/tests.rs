//! Sums over pairs beside the naive ones, and every kernel beside the plain one.

use super::super::{CoarseCounter, CoarseHistogram};
use super::*;
use rand::{RngExt, SeedableRng};

#[test]
fn equals_the_naive_sums_in_any_pieces() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(6);
    let mut a: Vec<f64> = (0..50_003).map(|_| rng.random::<f64>() * 3.0 + 1000.0).collect();
    let mut b: Vec<f64> = a.iter().map(|v| v * 1.001 + rng.random::<f64>() * 0.1).collect();
    a[70] = b[70] - 5.0;
    (a[100], b[100]) = (f64::NAN, f64::NAN);
    b[200] = f64::NAN;
    (a[300], b[300]) = (f64::INFINITY, f64::NEG_INFINITY);
    let p = a
        .chunks(777)
        .zip(b.chunks(777))
        .enumerate()
        .fold(Pairs::default(), |p, (i, (x, y))| p.then(Pairs::of(x, y, i as u64 * 777, 2.0)));
    let pairs: Vec<(f64, f64)> =
        a.iter().zip(&b).map(|(x, y)| (*x, *y)).filter(|(x, y)| x.is_finite() && y.is_finite()).collect();
    let n = pairs.len() as f64;
    let mean = |f: &dyn Fn((f64, f64)) -> f64| pairs.iter().map(|p| f(*p)).sum::<f64>() / n;
    let (ma, mb) = (mean(&|p| p.0), mean(&|p| p.1));
    let r = mean(&|p| (p.0 - ma) * (p.1 - mb)) / (mean(&|p| (p.0 - ma).powi(2)) * mean(&|p| (p.1 - mb).powi(2))).sqrt();
    let rms = mean(&|p| (p.1 - p.0).powi(2)).sqrt();
    assert_eq!((p.finite, p.odd_same, p.odd_differ), (50_000, 1, 2));
    assert!((p.mean_difference().unwrap() - mean(&|p| p.1 - p.0)).abs() < 1e-9);
    assert!((p.mean_absolute().unwrap() - mean(&|p| (p.1 - p.0).abs())).abs() < 1e-9);
    assert!((p.rms().unwrap() / rms - 1.0).abs() < 1e-9);
    assert!((p.correlation().unwrap() - r).abs() < 1e-9, "{:?} {r}", p.correlation());
    assert_eq!(p.worst.unwrap().index, 70);
    assert_eq!((p.beyond, p.first.unwrap().index), (3, 70));
    let (low, high) = p.range_a.unwrap();
    assert!((p.psnr().unwrap() - 20.0 * ((high - low) / rms).log10()).abs() < 1e-9);
}

/// What single pairs decide is the same; sums agree as far as 32 terms in 32 bits allow.
/// A difference from a grey may be off by `slack`.
fn assert_agree(got: &Pairs, want: &Pairs, slack: f64, what: &str) {
    let decided = |p: &Pairs| {
        (p.finite, p.unequal, p.odd_same, p.odd_differ, p.beyond, p.first, p.worst.map(|w| w.index), p.range_a)
    };
    assert_eq!(decided(got), decided(want), "{what}");
    let part = 32.0 * 2f64.powi(-24);
    // A sum of squares may have lost four bits more with its mean.
    let once = slack * want.finite as f64;
    let squares = want.m2.0 + want.m2.1;
    // Σ 2·slack·|v| is at most 2·slack·√(n·Σv²).
    let twice = 2.0 * slack * (want.finite as f64 * (squares + want.sum_sq)).sqrt() + slack * once;
    for (got, want, of, bits, slack) in [
        (got.sum_abs, want.sum_abs, want.sum_abs, 1.0, once),
        (got.sum_d, want.sum_d, want.sum_abs, 2.0, once),
        (got.sum_sq, want.sum_sq, want.sum_sq, 2.0, twice),
        (got.m2.0, want.m2.0, want.m2.0, 16.0, 0.0),
        (got.m2.1, want.m2.1, squares, 16.0, twice),
        (got.cross, want.cross, squares, 16.0, twice),
    ] {
        assert!((got - want).abs() <= of * part * bits + slack + 1e-300, "{what}: {got} against {want}");
    }
    let close_to_one = |p: &Pairs| p.correlation().map(|r| 1.0 - r);
    match (close_to_one(got), close_to_one(want)) {
        (Some(g), Some(w)) => assert!((g - w).abs() <= w * 1e-3 + 1e-12, "{what}: 1 - r is {g:e} against {w:e}"),
        (g, w) => assert_eq!(g, w, "{what}"),
    }
}

/// Every kind of vectors this machine has, and what a machine without any does.
fn narrow_ways() -> Vec<Narrow> {
    let mut ways: Vec<Narrow> = vec![|p, a, b, i, t, d, c| p.and_narrow(a, b, i, t, d, c)];
    #[cfg(target_arch = "x86_64")]
    {
        use crate::quantise::cpu::Vectors;
        let all: [(Vectors, Narrow); 2] = [
            (Vectors::Avx512, |p, a, b, i, t, d, c| p.and_vectors(Vectors::Avx512, a, b, i, t, d, c)),
            (Vectors::Avx2, |p, a, b, i, t, d, c| p.and_vectors(Vectors::Avx2, a, b, i, t, d, c)),
        ];
        ways.extend(all.into_iter().filter(|w| w.0.are_there()).map(|w| w.1));
    }
    ways
}

type Narrow = fn(Pairs, &[f32], Second<'_>, u64, f64, &mut Vec<f32>, &mut CoarseCounter) -> Option<(Pairs, u64)>;

fn doubles(v: &[f32]) -> Vec<f64> {
    v.iter().map(|v| f64::from(*v)).collect()
}

/// Every kind of second values, lengths that leave a tail, ends of the scale: as the plain way.
#[test]
fn narrow_and_wide_agree() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let scale = [0.01, -0.5, -0.5, 0.01 * 255.0 - 0.5];
    let scale16 = [0.0001, -1.0, -1.0, 0.0001 * 65535.0 - 1.0];
    let mut seen = 0;
    for n in [1, 2, 15, 16, 17, 100, 2048, 2051] {
        let mut a: Vec<f32> = (0..n).map(|_| rng.random::<f32>() * 3.0 - 1.0).collect();
        a.iter_mut().step_by(11).for_each(|v| *v = 0.0);
        a.iter_mut().skip(5).step_by(13).for_each(|v| *v = -0.5);
        let b: Vec<f32> = a.iter().map(|v| if rng.random::<bool>() { *v } else { v * 1.001 }).collect();
        let g: Vec<u8> = a.iter().map(|v| ((v + 0.5) / 0.01).round().clamp(0.0, 255.0) as u8).collect();
        let h: Vec<u16> = g.iter().map(|g| u16::from(*g) * 257).collect();
        let greys = |[slope, offset, low, high]: [f64; 4], g: Vec<f64>| {
            let mut v: Vec<f64> = g.iter().map(|g| slope * g + offset).collect();
            let beyond = follow(&mut v, (low, high), &doubles(&a));
            (v, beyond)
        };
        for (second, (plain, beyond), slack) in [
            (Second::Same, (doubles(&a), 0), 0.0),
            (Second::F32(&b), (doubles(&b), 0), 0.0),
            (Second::U8(&g, scale), greys(scale, g.iter().map(|g| f64::from(*g)).collect()), 2.55 * 2f64.powi(-23)),
            (Second::U16(&h, scale16), greys(scale16, h.iter().map(|g| f64::from(*g)).collect()), 2f64.powi(-42)),
        ] {
            for (tolerance, way) in
                [0.0, 0.001, 0.005].into_iter().flat_map(|t| narrow_ways().into_iter().map(move |w| (t, w)))
            {
                let (mut d, mut counter) = (Vec::new(), CoarseCounter::default());
                let start = Pairs::of(&[1.0, 2.0], &[1.0, 2.0005], 0, tolerance);
                let Some((p, n_beyond)) = way(start, &a, second, 2, tolerance, &mut d, &mut counter) else {
                    continue;
                };
                seen += 1;
                let want = start.and(&doubles(&a), &plain, 2, tolerance);
                assert_agree(&p, &want, slack, &format!("{n} values"));
                assert_eq!(n_beyond, beyond);
                let mut counted = CoarseHistogram::new(false);
                counted.absorb(&mut counter);
                assert_eq!(counted.bins().map(|b| b.2).sum::<u64>(), p.unequal - start.unequal);
                if let Some((low, high)) = counted.extent() {
                    let middle = counted.bins().filter(|b| b.1 >= low && b.0 <= high).count();
                    assert!(middle == counted.bins().count() && d.iter().all(|d| f64::from(*d) >= low.min(0.0)));
                }
                if want.unequal > 1 {
                    let off = |(i, d): (usize, &f32)| (f64::from(*d) - (plain[i] - f64::from(a[i]))).abs();
                    assert!(d.len() == n && d.iter().enumerate().map(off).fold(0.0, f64::max) < 1e-6);
                }
            }
        }
    }
    let can = |way: &&Narrow| {
        way(Pairs::default(), &[], Second::Same, 0, 0.0, &mut vec![], &mut CoarseCounter::default()).is_some()
    };
    assert_eq!(seen, 96 * narrow_ways().iter().filter(can).count());
    // Among whole vectors, and in what fills none.
    for (odd, at) in [(f32::NAN, 7), (f32::INFINITY, 7), (f32::NAN, 33), (f32::INFINITY, 33)] {
        let mut a: Vec<f32> = (0..35).map(|i| i as f32 * 0.1).collect();
        a[at] = odd;
        for (second, way) in
            [Second::Same, Second::F32(&[1.0; 35]), Second::U8(&[9; 35], scale), Second::U16(&[9; 35], scale16)]
                .into_iter()
                .flat_map(|s| narrow_ways().into_iter().map(move |w| (s, w)))
        {
            let mut counter = CoarseCounter::default();
            assert!(way(Pairs::default(), &a, second, 0, 0.0, &mut vec![7.0; 16], &mut counter).is_none());
            // Nothing stays counted.
            let mut h = CoarseHistogram::new(false);
            counter.add(&[f32::MIN, f32::MAX, f32::MIN_POSITIVE]);
            h.absorb(&mut counter);
            assert_eq!(h.bins().map(|b| b.2).sum::<u64>(), 3);
        }
    }
}

/// Values that 32 bits are not made for: far from zero beside what they vary, hot, tiny, huge, flat on one side, greys that
/// are met exactly, second values of another unit.
#[test]
fn hard_values_lose_nothing() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(8);
    let n = 2048;
    let noise: Vec<f32> = (0..n).map(|_| rng.random::<f32>() - 0.5).collect();
    let of = |f: &dyn Fn(usize, f32) -> f32| noise.iter().enumerate().map(|(i, v)| f(i, *v)).collect::<Vec<f32>>();
    let plain = of(&|_, v| v + 1.0);
    let cases: [(&str, Vec<f32>, Vec<f32>); 10] = [
        ("far from zero", of(&|_, v| 1e5 + v), of(&|i, v| 1e5 + v + 0.1 * (i % 7) as f32)),
        ("zeros, then far", of(&|i, v| if i < 100 { 0.0 } else { 1e4 + v }), of(&|_, v| 1e4 + v)),
        ("one odd value first", of(&|i, v| if i == 0 { 1e4 } else { v }), plain.clone()),
        ("hot", of(&|i, v| if i == 77 { 1e9 } else { v }), plain.clone()),
        ("tiny", of(&|_, v| v * 1e-30), of(&|_, v| v * 1.5e-30)),
        ("huge", of(&|_, v| v * 1e30), of(&|_, v| v * 1.5e30)),
        ("first flat", vec![2.5; n], plain.clone()),
        ("second flat", plain.clone(), vec![2.5; n]),
        ("another unit", plain.clone(), of(&|_, v| (v + 1.0) * 1e-4)),
        ("moved up", plain.clone(), of(&|_, v| v + 1001.0)),
    ];
    for ((what, a, b), way) in cases.iter().flat_map(|c| narrow_ways().into_iter().map(move |w| (c, w))) {
        for (a, b) in [(a, b), (b, a)] {
            let (start, mut d) = (Pairs::default(), Vec::new());
            let Some((p, _)) = way(start, a, Second::F32(b), 0, 0.25, &mut d, &mut CoarseCounter::default()) else {
                continue;
            };
            assert_agree(&p, &start.and(&doubles(a), &doubles(b), 0, 0.25), 0.0, what);
        }
    }
    // Every second value exactly on its grey.
    let g: Vec<u8> = (0..n).map(|i| (i * 7 % 256) as u8).collect();
    let h: Vec<u16> = (0..n).map(|i| (i * 7919 % 65536) as u16).collect();
    let scales = [[0.1, 7.3], [1.0, 0.0], [1e-3, 900.0]];
    for (scale, way) in scales.into_iter().flat_map(|s| narrow_ways().into_iter().map(move |w| (s, w))) {
        for top in [255.0, 65535.0] {
            let (slope, offset) = (scale[0] * 255.0 / top, scale[1]);
            let scale = [slope, offset, offset, slope * top + offset];
            let of = |i: usize| if top == 255.0 { f64::from(g[i]) } else { f64::from(h[i]) };
            let mut values: Vec<f64> = (0..n).map(|i| slope * of(i) + offset).collect();
            let moved = |i: usize| if i.is_multiple_of(2) { 0.0 } else { 0.3 * slope as f32 };
            let a: Vec<f32> = values.iter().enumerate().map(|(i, v)| *v as f32 + moved(i)).collect();
            let beyond = follow(&mut values, (scale[2], scale[3]), &doubles(&a));
            let second = if top == 255.0 { Second::U8(&g, scale) } else { Second::U16(&h, scale) };
            let (start, tolerance, mut d) = (Pairs::default(), slope / 4.0, Vec::new());
            let Some((p, n)) = way(start, &a, second, 0, tolerance, &mut d, &mut CoarseCounter::default()) else {
                continue;
            };
            assert_eq!(n, beyond);
            let want = start.and(&doubles(&a), &values, 0, tolerance);
            let span = scale[3] - offset;
            // With 16 bits the rounding of single differences is all there is.
            let (slack, rounded) = match top == 255.0 {
                true => (span * 2f64.powi(-23), 0.0),
                false => ((span + offset) * 2f64.powi(-44), want.sum_abs * 2f64.powi(-24)),
            };
            assert_agree(&p, &want, slack, "greys");
            // What single differences are off by is a rounding, up as often as down.
            let all = (p.sum_d - want.sum_d).abs();
            assert!(all < slack * 3.0 * (2048f64).sqrt() + rounded, "{all:e} for {scale:?}");
        }
    }
}

/// Counted by pairs of greys, in runs and by two threads: as pair by pair.
#[test]
fn greys_of_8_bits_counted_together() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(9);
    let n = 40_011;
    let mut a: Vec<u8> = (0..n).map(|_| (rng.random::<f32>() * 300.0 - 20.0).clamp(0.0, 255.0) as u8).collect();
    let mut b: Vec<u8> = a.iter().map(|v| v.saturating_add(rng.random_range(0..4)).saturating_sub(1)).collect();
    // Flat on both sides, on one, and one pair that is met once.
    a[1000..3000].fill(0);
    b[1000..2500].fill(0);
    b[20_000..20_100].fill(90);
    (a[33_333], b[33_333]) = (3, 250);
    let scaled =
        |slope: f64, offset: f64| Greys { scale: (slope, offset), ends: Some((offset, slope * 255.0 + offset)) };
    let plain = Greys { scale: (1.0, 0.0), ends: None };
    for (ga, gb, tolerance) in [
        (plain, plain, 0.0),
        (plain, plain, 1.0),
        (plain, plain, 1000.0),
        (scaled(0.01, -0.3), scaled(0.01, -0.3), 0.0),
        (scaled(0.01, -0.3), scaled(0.011, -0.2), 0.02),
        (plain, scaled(1.0, 0.0), 0.0),
    ] {
        let widen = |g: Greys, v: &[u8]| v.iter().map(|v| g.value(usize::from(*v))).collect::<Vec<f64>>();
        let (mut x, mut y) = (widen(ga, &a), widen(gb, &b));
        let mut beyond = ga.ends.map_or(0, |ends| follow(&mut x, ends, &y));
        beyond += gb.ends.map_or(0, |ends| follow(&mut y, ends, &x));
        let want = Pairs::of(&x, &y, 0, tolerance);
        let mut histogram = CoarseHistogram::new(false);
        let mut counter = CoarseCounter::default();
        counter.add(&x.iter().zip(&y).map(|(x, y)| (y - x) as f32).collect::<Vec<f32>>());
        histogram.absorb(&mut counter);
        // Every other run, settled in between or not.
        let mut threads = [Joint::default(), Joint::default()];
        for (i, (a, b)) in a.chunks(777).zip(b.chunks(777)).enumerate() {
            threads[i % 2].add(a, b, i as u64 * 777);
            if i == 30 {
                threads[0].settle();
            }
        }
        let [one, two] = threads;
        let (p, counted, n_beyond) = two.and(one).found(ga, gb, tolerance);
        assert_eq!(n_beyond, beyond);
        assert_agree(&p, &want, 0.0, &format!("{ga:?} {gb:?}"));
        assert!(counted.extent() == histogram.extent() && counted.bins().eq(histogram.bins()));
        for (got, want) in [(p.sum_d, want.sum_d), (p.sum_sq, want.sum_sq), (p.cross, want.cross), (p.m2.1, want.m2.1)]
        {
            assert!((got - want).abs() <= 1e-9 * want.abs().max(1e-9), "{got} against {want}");
        }
    }
    assert_eq!(Joint::default().found(plain, plain, 0.0).0.rms(), None);
}

#[test]
fn the_ends_of_a_scale_follow_what_lies_beyond() {
    let inf = f64::INFINITY;
    let cases = [
        (1.0, 0.5, 0.5, 1),
        (1.0, 1.5, 1.0, 0),
        (1.0, 0.0, 0.0, 1),
        (1.0, inf, inf, 1),
        (1.0, 1.0, 1.0, 0),
        (2.0, 3.0, 3.0, 1),
        (2.0, 1.9, 2.0, 0),
        (2.0, inf, inf, 1),
        (2.0, f64::NAN, 2.0, 0),
        (1.5, 9.0, 1.5, 0),
    ];
    for (own, other, want, n) in cases {
        // Once in a vector, once in what remains.
        let mut v = [own; 11];
        assert_eq!(follow(&mut v, (1.0, 2.0), &[other; 11]), n * 11, "{own} {other}");
        assert_eq!(v, [want; 11], "{own} {other}");
    }
    let mut v = [1.0];
    assert_eq!(follow(&mut v, (1.0, 2.0), &[f64::NAN]), 1);
    assert!(v[0].is_nan());
}

/// One side so large that the other is nothing beside it.
#[test]
fn a_hot_voxel_leaves_the_correlation_right() {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(10);
    let a: Vec<f64> = (0..3600).map(|_| rng.random::<f64>() - 0.5).collect();
    for hot in [1e8, 1e12, 1e15, 1e20, 1e30] {
        let mut b = a.clone();
        b[1234] = hot;
        // What is left of it: one value against all.
        let n = a.len() as f64;
        let mean = a.iter().sum::<f64>() / n;
        let spread = a.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
        let want = (a[1234] - mean) / (spread * (1.0 - 1.0 / n)).sqrt();
        let p = a.chunks(700).zip(b.chunks(700)).enumerate();
        let p = p.fold(Pairs::default(), |p, (i, (x, y))| p.then(Pairs::of(x, y, i as u64 * 700, 0.0)));
        let got = p.correlation().unwrap();
        assert!((got - want).abs() < 1e-5, "{hot:e}: {got} against {want}");
    }
}

#[test]
fn equal_and_flat_runs() {
    let v = [1.0, 2.0, 3.0];
    let p = Pairs::of(&v, &v, 0, 0.0);
    assert_eq!((p.beyond, p.unequal, p.worst, p.psnr()), (0, 0, None, None));
    assert!((p.correlation().unwrap() - 1.0).abs() < 1e-12);
    let p = Pairs::of(&[1.0; 3], &[1.5; 3], 10, 0.5);
    assert_eq!((p.beyond, p.unequal, p.correlation(), p.rms()), (0, 3, None, Some(0.5)));
    assert_eq!(p.worst.unwrap().index, 10);
    assert_eq!(Pairs::of(&[], &[], 0, 0.0).rms(), None);
}
