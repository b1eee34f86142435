//! Several devices of a user behind a real core, which forks and knows no Reject-Contact: the relay
//! as PF-T picks them itself, or lets the core (004, CON-09).

use std::time::Duration;

use tests::live::kamailio::Core;
use tests::live::ports::Ports;
use tests::live::relay::Relay;
use tests::live::scene::LONG;
use tests::live::{eventually, needs};
use tests::peers::sdp::Writer;
use tests::peers::sip::{Agent, Call, Message};

const INSTANCES: [&str; 3] = [
    "urn:uuid:00000000-0000-4000-8000-0000000000b1",
    "urn:gsma:imei:90420156-025763-0",
    "urn:uuid:00000000-0000-4000-8000-0000000000b3",
];

struct Scene {
    alice: Agent,
    devices: Vec<Agent>,
    target: String,
    relay: Relay,
    _core: Core,
    _ports: Ports,
}

/// Two devices for audio and one for video, registered; `fork` as the setting says it.
fn scene(fork: &str) -> Scene {
    let relay = Relay::start_with(|settings| {
        settings
            .set("registration", "enabled", true)
            .set("registration", "trusted", r#"["127.0.0.1"]"#)
            .set("registration", "without_gruu", r#""contact""#)
            .set("policy", "fork", format!("{fork:?}"));
    });
    let mut ports = Ports::take();
    let core = Core::registrar(&mut ports, relay.sip);
    let target = format!("sip:bob@{}", core.sip);
    let tags = ["audio", "audio", "video"];
    let mut devices = Vec::new();
    for (instance, tag) in INSTANCES.iter().zip(tags) {
        let mut device = Agent::udp("bob", core.sip);
        let contact = format!("+sip.instance=\"<{instance}>\";{tag}");
        let answer = device.register(&target, &contact, 600);
        assert_eq!(answer.code(), Some(200), "{}", answer.text());
        devices.push(device);
    }
    let told = eventually(LONG, || relay.metric(&["midpath_registers_total"]) >= 3.0);
    assert!(told, "{:?}", relay.metrics());
    Scene {
        alice: Agent::udp("alice", core.sip),
        devices,
        target,
        relay,
        _core: core,
        _ports: ports,
    }
}

impl Scene {
    fn sdp(&self, port: u16) -> String {
        Writer::new(self.relay.sip.ip()).audio(port).text()
    }

    /// Waits for the INVITE of each of the first devices, and lets them ring: the caller hears it
    /// once.
    fn rings(&mut self, devices: usize) -> Vec<Call> {
        let mut calls = Vec::new();
        for device in self.devices.iter_mut().take(devices) {
            let call = device.incoming();
            call.answer(device, 180, "");
            calls.push(call);
        }
        let ringing = |message: &Message| message.code() == Some(180);
        let first = self.alice.within(LONG, ringing);
        assert!(first.is_some());
        let second = self.alice.within(Duration::from_millis(400), ringing);
        assert!(second.is_none(), "{second:#?}");
        calls
    }

    /// The first device answers: the others are cancelled, and the call is its own.
    fn is_answered(&mut self, mut call: Call, calls: &[Call]) -> Vec<Message> {
        let answer = self.sdp(9002);
        calls[0].answer(&mut self.devices[0], 200, &answer);
        call.established(&mut self.alice);
        self.devices[0].request("ACK");
        let mut cancels = Vec::new();
        for (device, call) in self.devices.iter_mut().zip(calls).skip(1) {
            let cancel = device.request("CANCEL");
            device.answer(&cancel, 200, &[], "");
            call.answer(device, 487, "");
            device.request("ACK");
            cancels.push(cancel);
        }
        call.send_bye(&mut self.alice);
        let bye = self.devices[0].request("BYE");
        self.devices[0].answer(&bye, 200, &[], "");
        assert_eq!(self.alice.response("BYE").code(), Some(200));
        self.relay.assert_empty();
        cancels
    }
}

#[test]
fn con_09_a_real_core_is_asked_for_each_device_by_itself() {
    if !needs("devices behind a core", &["kamailio"]) {
        return;
    }
    let mut scene = scene("pf");
    let offer = scene.sdp(9000);
    let target = scene.target.clone();
    let call = scene.alice.invite(&target, &offer);
    let calls = scene.rings(2);
    assert_ne!(calls[0].id(), calls[1].id());
    let cancels = scene.is_answered(call, &calls);
    let reason = cancels[0].field("Reason");
    assert!(reason.contains("Call completed elsewhere"), "{reason}");
    scene.devices[2].hears_nothing(Duration::from_millis(200));
}

#[test]
fn con_09_a_real_core_forks_and_the_first_answer_counts() {
    if !needs("devices behind a core", &["kamailio"]) {
        return;
    }
    let mut scene = scene("core");
    let offer = scene.sdp(9000);
    let target = scene.target.clone();
    let call = scene.alice.invite(&target, &offer);
    // This core doesn't know Reject-Contact: the third one is asked, too.
    let calls = scene.rings(3);
    for invited in &calls {
        assert_eq!(invited.id(), calls[0].id());
        let rejected = invited.invite.field("Reject-Contact");
        assert_eq!(rejected, format!("*;+sip.instance=\"<{}>\"", INSTANCES[2]));
    }
    scene.is_answered(call, &calls);
}

#[test]
fn reg_05_who_deregisters_at_a_real_core_is_no_longer_invited() {
    if !needs("devices behind a core", &["kamailio"]) {
        return;
    }
    let mut scene = scene("pf");
    let target = scene.target.clone();
    for (device, instance) in scene.devices.iter_mut().zip(INSTANCES) {
        let contact = format!("+sip.instance=\"<{instance}>\"");
        assert_eq!(device.register(&target, &contact, 0).code(), Some(200));
    }
    let relay = &scene.relay;
    let told = eventually(LONG, || relay.metric(&["midpath_registered_users"]) < 1.0);
    assert!(told, "{:?}", relay.metrics());
    let offer = scene.sdp(9000);
    let call = scene.alice.invite(&target, &offer);
    assert_eq!(call.failed(&mut scene.alice).code(), Some(480));
    for device in &mut scene.devices {
        device.hears_nothing(Duration::from_millis(100));
    }
}
