import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.nio.ByteBuffer;
import java.util.HexFormat;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.Readable;

/**
 * Reads lines of "class version hex" and answers each with the hex of what Apache Kafka's class makes of it: decoded,
 * then encoded again. "default" in place of the hex stands for a new, untouched object.
 */
public class Recode {
    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        BufferedWriter out = new BufferedWriter(new OutputStreamWriter(System.out));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ", -1);
            String answer;
            try {
                answer = recode(Class.forName(words[0]), Short.parseShort(words[1]), words[2]);
            } catch (Throwable e) {
                Throwable cause = e.getCause() == null ? e : e.getCause();
                answer = "error: " + cause.toString().replace('\n', ' ');
            }
            out.write(answer);
            out.newLine();
        }
        out.flush();
    }

    private static String recode(Class<?> type, short version, String hex) throws Exception {
        Message message;
        if (hex.equals("default")) {
            message = (Message) type.getConstructor().newInstance();
        } else {
            ByteBuffer input = ByteBuffer.wrap(HexFormat.of().parseHex(hex));
            message = (Message) type.getConstructor(Readable.class, short.class)
                .newInstance(new ByteBufferAccessor(input), version);
            if (input.hasRemaining()) {
                return "error: " + input.remaining() + " bytes left";
            }
        }
        ByteBuffer output = MessageUtil.toByteBufferAccessor(message, version).buffer();
        byte[] bytes = new byte[output.remaining()];
        output.get(bytes);
        return HexFormat.of().formatHex(bytes);
    }
}
