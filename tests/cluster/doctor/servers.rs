//! Small servers on threads of their own, which stand where an API server or a proxy should be.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::net::TcpSocket;

/// A port of the loopback address that refuses connections for as long as the socket lives.
pub fn refusing() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// Handles each connection on a thread of its own.
fn serve(
    listener: TcpListener,
    handle: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
) -> SocketAddr {
    let address = listener.local_addr().unwrap();
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let handle = handle.clone();
            // A client that goes away is none of the server's business.
            thread::spawn(move || drop(handle(stream)));
        }
    });
    address
}

fn loopback() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

/// Accepts connections and reads what comes, but never answers.
pub fn silent() -> SocketAddr {
    serve(loopback(), |mut stream| io::copy(&mut stream, &mut io::sink()).map(drop))
}

/// Closes each connection.
pub fn closing() -> SocketAddr {
    serve(loopback(), |_| Ok(()))
}

/// Answers the first bytes of each connection, whatever they are, with these.
pub fn answering(answer: impl AsRef<[u8]> + Send + Sync + 'static) -> SocketAddr {
    serve(loopback(), move |mut stream| {
        let _ = stream.read(&mut [0; 4096])?;
        stream.write_all(answer.as_ref())
    })
}

/// Leads each connection of a listener to another server.
pub fn relay(listener: TcpListener, to: SocketAddr) -> SocketAddr {
    serve(listener, move |stream| join(stream, to))
}

fn join(from: TcpStream, to: SocketAddr) -> io::Result<()> {
    let to = TcpStream::connect(to)?;
    for stream in [&from, &to] {
        stream.set_nodelay(true)?;
    }
    let (mut forth, mut back) = ((from.try_clone()?, to.try_clone()?), (to, from));
    let there = thread::spawn(move || pump(&mut forth.0, &mut forth.1));
    pump(&mut back.0, &mut back.1);
    let _ = there.join();
    Ok(())
}

fn pump(from: &mut TcpStream, to: &mut TcpStream) {
    let _ = io::copy(from, to);
    let _ = to.shutdown(Shutdown::Write);
}

/// A proxy that connects to one server, whatever host it is given.
pub struct Proxy {
    pub address: SocketAddr,
    hosts: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(
        connect: impl Fn(TcpStream, &Mutex<Vec<String>>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let hosts = Arc::new(Mutex::new(Vec::new()));
        let seen = hosts.clone();
        Self { address: serve(loopback(), move |stream| connect(stream, &seen)), hosts }
    }

    /// An HTTP proxy, which may require the value of `Proxy-Authorization`.
    pub fn http(to: SocketAddr, login: Option<&'static str>) -> Self {
        Self::start(move |mut stream, hosts| {
            let mut reader = BufReader::new(stream.try_clone()?);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                reader.read_line(&mut line)?;
                match line.trim_end() {
                    "" => break,
                    line => head.push(line.to_owned()),
                }
            }
            if login.is_some_and(|login| !head.contains(&format!("Proxy-Authorization: {login}"))) {
                return stream.write_all(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
                );
            }
            hosts.lock().unwrap().push(head[0].clone());
            stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
            join(stream, to)
        })
    }

    /// A SOCKS5 proxy without a login, for host names.
    pub fn socks5(to: SocketAddr) -> Self {
        Self::start(move |mut stream, hosts| {
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting)?;
            assert_eq!(greeting, [5, 1, 0]);
            stream.write_all(&[5, 0])?;
            let mut head = [0; 5];
            stream.read_exact(&mut head)?;
            assert_eq!(head[..4], [5, 1, 0, 3], "a connection to a host name");
            let mut host = vec![0; usize::from(head[4]) + 2];
            stream.read_exact(&mut host)?;
            let port = u16::from_be_bytes([host[host.len() - 2], host[host.len() - 1]]);
            host.truncate(host.len() - 2);
            hosts.lock().unwrap().push(format!("{}:{port}", String::from_utf8(host).unwrap()));
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
            join(stream, to)
        })
    }

    /// What the proxy was asked to connect to since the last call.
    pub fn take_hosts(&self) -> Vec<String> {
        std::mem::take(&mut *self.hosts.lock().unwrap())
    }
}
