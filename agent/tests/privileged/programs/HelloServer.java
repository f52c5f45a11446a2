import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

/** java HelloServer PORT: an HTTP server of the JDK's com.sun.net.httpserver. */
public class HelloServer {
    public static void main(String[] args) throws IOException {
        var address = new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0]));
        var server = HttpServer.create(address, 128);
        server.createContext("/", HelloServer::answer);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
    }

    private static void answer(HttpExchange exchange) throws IOException {
        long sent = exchange.getRequestBody().readAllBytes().length;
        String kind = exchange.getRequestURI().getPath().split("/")[1];
        int status = 200;
        byte[] body;
        switch (kind) {
            case "hello": body = "hello\n".getBytes(); break;
            case "big": body = new byte[300000]; break;
            case "upload": body = ("got " + sent + "\n").getBytes(); break;
            default: body = "not here\n".getBytes(); status = 404;
        }
        if (exchange.getRequestMethod().equals("HEAD")) {
            exchange.getResponseHeaders().set("Content-Length", "" + body.length);
            exchange.sendResponseHeaders(status, -1);
        } else {
            exchange.sendResponseHeaders(status, body.length);
            try (OutputStream out = exchange.getResponseBody()) {
                out.write(body);
            }
        }
        exchange.close();
    }
}
