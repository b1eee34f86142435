//! Switched video, judged by real codecs: ffmpeg's encoders send, its decoders must find no fault in
//! what they get while the speaker changes; and tshark, which must read the feedback as it was meant.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dataplane::api::{
    Direction, PayloadFormat, RtpFormats, VideoCodec, VideoFeedback, VideoFormat,
};
use dataplane::proto::switch::{NtpClock, Outlet, Seat, Switch, SwitchSpec};
use dataplane::wire::rtcp::{ReportBlock, SenderInfo, Writer};
use dataplane::wire::rtp::{Seq, Ssrc};
use tests::live::judge::{self, Capture};
use tests::live::ports::Ports;
use tests::live::process::{Folder, Process};
use tests::live::scene::LONG;
use tests::live::{eventually, find, needs, skip};

const SUITE: &str = "switched video with ffmpeg";
/// Frames that the receiver decodes before it is content: seven seconds.
const FRAMES: usize = 210;
/// A picture is scaled to this many pixels, four to three.
const PIXELS: usize = 4 * 3;

/// A codec, as ffmpeg and SDP know it.
pub(super) struct Codec {
    pub(super) name: &'static str,
    codec: Option<VideoCodec>,
    encoder: &'static [&'static str],
}

pub(super) const VP8: Codec = Codec {
    name: "VP8",
    codec: Some(VideoCodec::Vp8),
    encoder: &["libvpx", "-deadline", "realtime", "-cpu-used", "8"],
};
pub(super) const H264: Codec = Codec {
    name: "H264",
    codec: Some(VideoCodec::H264),
    encoder: &["libx264", "-preset", "ultrafast", "-tune", "zerolatency"],
};
const H265: Codec = Codec {
    name: "H265",
    codec: Some(VideoCodec::H265),
    encoder: &[
        "libx265",
        "-preset",
        "ultrafast",
        "-tune",
        "zerolatency",
        "-x265-params",
        "log-level=error:keyint=15:open-gop=0:repeat-headers=1:pools=1",
    ],
};

impl Codec {
    fn formats(&self) -> RtpFormats {
        let video = self.codec.map(|codec| VideoFormat {
            payload_type: 96,
            codec,
            feedback: VideoFeedback::default(),
        });
        RtpFormats {
            payloads: vec![PayloadFormat {
                payload_type: 96,
                format: 1,
                clock_rate: 90_000,
            }],
            video: video.into_iter().collect(),
            ..RtpFormats::default()
        }
    }

    /// Sends noise of a colour, a key frame each half second.
    fn send(&self, folder: &Path, colour: &str, to: u16) -> Process {
        self.send_to(
            folder,
            colour,
            &format!("rtp://127.0.0.1:{to}?pkt_size=1200"),
        )
    }

    /// The same from a port of one's own.
    pub(super) fn send_from(&self, folder: &Path, colour: &str, (from, to): (u16, u16)) -> Process {
        let own = format!("localrtpport={from}&localrtcpport={}", from + 1);
        let to = format!("rtp://127.0.0.1:{to}?pkt_size=1200&{own}");
        self.send_to(folder, colour, &to)
    }

    fn send_to(&self, folder: &Path, colour: &str, to: &str) -> Process {
        let picture = format!("color=c={colour}:size=320x240:rate=30,noise=alls=20:allf=t");
        let mut command = ffmpeg();
        command.args(["-v", "error", "-re", "-f", "lavfi", "-i", &picture]);
        command.args(["-pix_fmt", "yuv420p", "-g", "15", "-b:v", "400k", "-c:v"]);
        command.args(self.encoder);
        command.args(["-payload_type", "96", "-f", "rtp"]);
        command.arg(to);
        Process::start(colour, folder, &mut command)
    }

    /// Decodes [`FRAMES`] frames, which it numbers as it gets them, and ends; the first fault ends it as well, without success.
    pub(super) fn receive(&self, folder: &Path, at: u16) -> Process {
        let name = self.name;
        let description = format!(
            "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=video {at} RTP/AVP 96\r\na=rtpmap:96 {name}/90000\r\n"
        );
        fs::write(folder.join("receiver.sdp"), description).unwrap();
        let mut command = ffmpeg();
        command.args(["-v", "warning", "-xerror", "-err_detect", "explode"]);
        command.args(["-protocol_whitelist", "file,rtp,udp", "-i", "receiver.sdp"]);
        command.args(["-frames:v", &FRAMES.to_string(), "-fps_mode", "passthrough"]);
        command.args([
            "-vf",
            "setpts=N,scale=4:3",
            "-pix_fmt",
            "rgb24",
            "-f",
            "rawvideo",
            "out.rgb",
        ]);
        let receiver = Process::start("receiver", folder, &mut command);
        assert!(
            eventually(LONG, || is_bound(at)),
            "ffmpeg doesn't listen: {}",
            receiver.output()
        );
        receiver
    }
}

fn ffmpeg() -> Command {
    let mut command = Command::new(find("ffmpeg").expect("ffmpeg is installed"));
    command.arg("-nostdin");
    command
}

/// Whether somebody has bound a UDP port.
fn is_bound(port: u16) -> bool {
    let sockets = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    sockets.contains(&format!(":{port:04X} 00000000:0000"))
}

/// A room of switched video over sockets: one for each who sends, one for the receiver.
struct Room {
    switch: Switch,
    senders: Vec<(Seat, [UdpSocket; 2])>,
    outlet: ToReceiver,
}

/// What leaves for the receiver; nobody else is listened for.
struct ToReceiver {
    seat: Option<Seat>,
    socket: UdpSocket,
    to: SocketAddr,
}

impl Outlet for ToReceiver {
    fn rtp(&mut self, to: Seat, head: &[u8], body: &[u8]) {
        if self.seat == Some(to) {
            self.socket
                .send_to(&[head, body].concat(), self.to)
                .unwrap();
        }
    }

    fn rtcp(&mut self, to: Seat, packet: &[u8]) {
        if self.seat == Some(to) {
            let to = SocketAddr::new(self.to.ip(), self.to.port() + 1);
            self.socket.send_to(packet, to).unwrap();
        }
    }
}

impl Room {
    fn new(codec: &Codec, senders: [u16; 2], receiver: u16) -> Self {
        let now = Instant::now();
        let mut room = Self {
            switch: Switch::new(SwitchSpec {
                seed: 1,
                clock: NtpClock { at: now, ntp: 0 },
                cname: b"relay".as_slice().into(),
                dwell_ms: 500,
            }),
            senders: Vec::new(),
            outlet: ToReceiver {
                seat: None,
                socket: bind(0),
                to: SocketAddr::from((Ipv4Addr::LOCALHOST, receiver)),
            },
        };
        for port in senders {
            let seat = room.join(codec, (true, false));
            room.senders.push((seat, [bind(port), bind(port + 1)]));
        }
        room.outlet.seat = Some(room.join(codec, (false, true)));
        room
    }

    fn join(&mut self, codec: &Codec, (may_send, may_receive): (bool, bool)) -> Seat {
        let now = Instant::now();
        let seat = self.switch.add(now).unwrap();
        let direction = Direction {
            may_send,
            may_receive,
        };
        let out = &mut self.outlet;
        self.switch.set_formats(seat, &codec.formats(), now, out);
        self.switch.set_direction(seat, direction, now, out);
        seat
    }

    /// Relays what has come, and does what is due.
    fn turn(&mut self) {
        let now = Instant::now();
        let mut bytes = [0; 2048];
        for (seat, [rtp, rtcp]) in &self.senders {
            while let Ok(len) = rtp.recv(&mut bytes) {
                let packet = &bytes[..len];
                let taken = self.switch.receive(*seat, packet, now, &mut self.outlet);
                assert_eq!(taken, Ok(()));
            }
            while let Ok(len) = rtcp.recv(&mut bytes) {
                let packet = &bytes[..len];
                self.switch
                    .receive_rtcp(*seat, packet, now, &mut self.outlet);
            }
        }
        if self.switch.poll_timeout(now).is_some_and(|at| now >= at) {
            self.switch.handle_timeout(now, &mut self.outlet);
        }
    }
}

fn bind(port: u16) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// Two send, and who speaks changes each second.
fn play(codec: &Codec) {
    if !needs(SUITE, &["ffmpeg"]) {
        return;
    }
    let folder = Folder::new("video");
    let mut ports = Ports::take();
    let [red, blue, at] = std::array::from_fn(|_| ports.pair());
    let mut room = Room::new(codec, [red, blue], at);
    let mut receiver = codec.receive(folder.path(), at);
    let senders = [
        codec.send(folder.path(), "red", red),
        codec.send(folder.path(), "blue", blue),
    ];
    let begin = Instant::now();
    let mut ended = None;
    while ended.is_none() && begin.elapsed() < LONG {
        let second = usize::try_from(begin.elapsed().as_secs()).unwrap();
        let speaker = room.senders[second % 2].0;
        let now = Instant::now();
        room.switch
            .set_speaker(Some(speaker), now, &mut room.outlet);
        room.turn();
        std::thread::sleep(Duration::from_millis(1));
        ended = receiver.wait(Duration::ZERO);
    }
    drop(senders);
    let said = receiver.output();
    assert!(
        ended.is_some_and(|status| status.success()),
        "{ended:?}, {:?}: {said}",
        room.switch.counts()
    );
    assert_eq!(said, "", "the decoder found fault");
    let decoded = fs::read(folder.path().join("out.rgb")).unwrap();
    // A second each, but for key frames and a machine that does much else.
    look(&decoded, 4);
}

/// Each frame is wholly of one colour, and the colours take turns, at least so many.
pub(super) fn look(decoded: &[u8], least: usize) {
    let frames: Vec<bool> = decoded
        .chunks(3 * PIXELS)
        .map(|frame| {
            let is_red = frame[0] > frame[2];
            let (pixels, _) = frame.as_chunks::<3>();
            for pixel in pixels {
                let [red, green, blue] = *pixel;
                let (own, other) = if is_red { (red, blue) } else { (blue, red) };
                assert!(own > 180 && other < 70 && green < 70, "{pixel:?}");
            }
            is_red
        })
        .collect();
    assert_eq!(frames.len(), FRAMES);
    let turns: Vec<usize> = frames
        .chunk_by(|one, next| one == next)
        .map(<[_]>::len)
        .collect();
    assert!(turns.len() >= least, "{turns:?}");
}

#[test]
fn vp8_of_the_speaker_decodes_without_fault_while_speakers_change() {
    play(&VP8);
}

#[test]
fn h264_of_the_speaker_decodes_without_fault_while_speakers_change() {
    play(&H264);
}

#[test]
fn h265_of_the_speaker_decodes_without_fault_while_speakers_change() {
    play(&H265);
}

#[test]
fn tshark_reads_feedback_and_reports_as_they_were_meant() {
    const SUITE: &str = "RTCP with tshark";
    if !needs(SUITE, &["tshark", "dumpcap"]) {
        return;
    }
    let mut ports = Ports::take();
    let port = ports.pair();
    let Some(capture) = Capture::start(&format!("udp port {port}")) else {
        skip(SUITE, "this user may not capture");
        return;
    };
    let (from, to) = (bind(0), bind(port));
    for packet in compounds() {
        from.send_to(&packet, to.local_addr().unwrap()).unwrap();
    }
    let wire = capture.stop();
    let ports = judge::Ports {
        rtp: vec![port],
        ..judge::Ports::default()
    };
    wire.assert_well_formed(&ports);
    let read = |filter: &str, fields: &[&str]| wire.lines(&ports, filter, fields);
    let sender = [
        "rtcp.senderssrc",
        "rtcp.timestamp.ntp.msw",
        "rtcp.timestamp.rtp",
        "rtcp.sender.packetcount",
        "rtcp.sender.octetcount",
        "rtcp.sdes.text",
    ];
    let lines = read("rtcp.pt == 200", &sender);
    assert_eq!(lines, ["0x00000007\t9\t90\t5\t256\trelay"]);
    let block = [
        "rtcp.ssrc.identifier",
        "rtcp.ssrc.fraction",
        "rtcp.ssrc.cum_nr",
        "rtcp.ssrc.high_cycles",
        "rtcp.ssrc.high_seq",
        "rtcp.ssrc.jitter",
        "rtcp.ssrc.dlsr",
    ];
    let lines = read("rtcp.ssrc.jitter", &block);
    // The description's chunk has the first field, too.
    assert_eq!(lines, ["0x00000009,0x00000007\t64\t3\t1\t4\t6\t65536"]);
    let media = "rtcp.mediassrc";
    assert_eq!(read("rtcp.psfb.fmt == 1", &[media]), ["0x00000009"]);
    let fir = ["rtcp.psfb.fir.fci.ssrc", "rtcp.psfb.fir.fci.csn"];
    assert_eq!(read("rtcp.psfb.fmt == 4", &fir), ["0x00000009\t3"]);
    let nack = [media, "rtcp.rtpfb.nack_pid", "rtcp.rtpfb.nack_blp"];
    let lines = read("rtcp.rtpfb.fmt == 1", &nack);
    // tshark adds the packets that the mask names.
    let lost = "100,101,103,116,140";
    assert_eq!(lines, [format!("0x00000009\t{lost}\t0x8005,0x0000")]);
    let remb = [
        "rtcp.psfb.remb.fci.ssrc",
        "rtcp.psfb.remb.fci.br_exp",
        "rtcp.psfb.remb.fci.br_mantissa",
    ];
    let lines = read("rtcp.psfb.fmt == 15", &remb);
    assert_eq!(lines, ["0x00000009\t3\t131072"]);
    assert_eq!(read("rtcp.pt == 203", &["rtcp.pt"]).len(), 1);
}

/// Compound packets with one of everything.
fn compounds() -> Vec<Vec<u8>> {
    let (own, media) = (Ssrc(7), Ssrc(9));
    let compound = |write: &dyn Fn(&mut Writer<'_>)| {
        let mut buffer = [0; 512];
        let mut writer = Writer::new(&mut buffer);
        write(&mut writer);
        writer.bytes().to_vec()
    };
    let info = SenderInfo {
        ntp: 9 << 32 | 1 << 31,
        timestamp: 90,
        packets: 5,
        octets: 256,
    };
    let block = ReportBlock {
        ssrc: media,
        fraction_lost: 64,
        lost: 3,
        highest: 0x1_0004,
        jitter: 6,
        last_report: 0x0102_0304,
        since_last_report: 0x1_0000,
    };
    let feedback = |write: &dyn Fn(&mut Writer<'_>)| {
        compound(&|writer| {
            writer.receiver_report(own, None);
            write(writer);
        })
    };
    vec![
        compound(&|writer| {
            writer.sender_report(own, &info, Some(&block));
            writer.cname(own, b"relay");
        }),
        feedback(&|writer| writer.picture_loss(own, media)),
        feedback(&|writer| writer.full_intra_request(own, media, 3)),
        feedback(&|writer| writer.nack(own, media, &[100, 101, 103, 116, 140].map(Seq))),
        feedback(&|writer| writer.remb(own, media, 1 << 20)),
        feedback(&|writer| writer.bye(own)),
    ]
}
