use super::*;

fn info(tgid: u32) -> Arc<ProcessInfo> {
    Arc::new(ProcessInfo {
        id: 0,
        tgid,
        comm: "worker".to_owned(),
        executable: None,
        service: "worker".to_owned(),
        service_namespace: None,
        resource: Vec::new(),
        container_id: None,
        pod_uid: None,
    })
}

fn fill(builder: &mut Builder, address: u64, stop: Option<Stop>) -> Result<SampleKey, Full> {
    let name = builder.string("work")?;
    let function = builder.function(Function {
        name,
        system_name: StringId::NONE,
        file: StringId::NONE,
        line: 0,
    })?;
    let line = Line {
        function,
        line: 7,
        column: 0,
    };
    let leaf = builder.location(Kind::Native, None, address, &[line])?;
    let stack = builder.stack(&[leaf], stop)?;
    let process = builder.process(&info(7), 1)?;
    let thread = builder.thread(process, 8, "pool")?;
    Ok(SampleKey::untagged(stack, thread))
}

#[test]
fn equal_things_are_held_once() {
    let mut builder = Builder::new(Limits {
        times: true,
        ..Limits::default()
    });
    for time in 0..5 {
        let key = fill(&mut builder, 1, None).unwrap();
        builder.sample(key, time).unwrap();
    }
    let used = builder.used();
    let key = fill(&mut builder, 1, None).unwrap();
    assert_eq!(builder.used(), used);
    let route = builder.string("/a").unwrap();
    builder
        .sample(key.serving(StringId::NONE, route, None), 9)
        .unwrap();

    let profile = builder.finish(Event::CpuClock, 1, 2, 3);
    assert_eq!(profile.strings.len(), 4);
    assert_eq!((profile.locations.len(), profile.stacks.len()), (1, 1));
    assert_eq!((profile.processes.len(), profile.threads.len()), (1, 1));
    assert_eq!(profile.samples.len(), 2);
    assert_eq!(profile.samples[0].times, [0, 1, 2, 3, 4]);
    assert_eq!(profile.count(), 6);
    assert_eq!((profile.ledger.tagged, profile.ledger.untagged), (1, 5));
    assert!(profile.ledger.balanced());
}

#[test]
fn a_full_profile_counts_what_it_loses() {
    let mut builder = Builder::new(Limits {
        bytes: 4 << 10,
        times: false,
    });
    for address in 0..1_000 {
        match fill(&mut builder, address, Some(Stop::NoRows)) {
            Ok(key) if builder.sample(key, 0).is_ok() => {}
            _ => builder.lose(Loss::ProfileFull, None, 1),
        }
        assert!(builder.used() <= 4 << 10);
    }
    let profile = builder.finish(Event::CpuClock, 0, 0, 1);
    assert!(profile.ledger.balanced(), "{:?}", profile.ledger);
    assert_eq!(profile.ledger.seen, 1_000);
    assert!(profile.ledger.emitted > 0 && profile.ledger.lost() > 0);
    let unwinding = profile.processes[0].unwinding;
    assert_eq!(unwinding.total(), profile.ledger.emitted);
    assert_eq!(unwinding.success(), Some(0.0));
}

#[test]
fn deep_stacks_are_cut_at_the_root_and_say_so() {
    let mut builder = Builder::new(Limits::default());
    let leaf = builder.location(Kind::Unknown, None, 1, &[]).unwrap();
    let root = builder.location(Kind::Unknown, None, 2, &[]).unwrap();
    let mut frames = vec![leaf; MAX_FRAMES];
    let whole = builder.stack(&frames, None).unwrap();
    frames.push(root);
    let cut = builder.stack(&frames, None).unwrap();
    let profile = builder.finish(Event::CpuClock, 0, 0, 1);
    assert_eq!(profile.stacks[whole.index()].stop, None);
    let cut = &profile.stacks[cut.index()];
    assert_eq!(cut.stop, Some(Stop::TooDeep));
    assert!(cut.frames.iter().all(|frame| *frame == leaf));
}

#[test]
fn long_names_are_cut_between_characters() {
    let mut builder = Builder::new(Limits::default());
    let id = builder.string(&format!("a{}", "é".repeat(4_000))).unwrap();
    let profile = builder.finish(Event::CpuClock, 0, 0, 1);
    assert_eq!(profile.string(id).len(), 4_095);
}

#[test]
fn reasons_are_found_by_number() {
    for stop in Stop::ALL {
        assert_eq!(Stop::ALL[stop as usize], stop);
    }
    for loss in Loss::ALL {
        assert_eq!(Loss::ALL[loss as usize], loss);
    }
}
