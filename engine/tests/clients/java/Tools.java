// Runs Apache Kafka's command-line tools inside one JVM, one call after the other, and hands back what each said.
//
// Standard input:   CALL <class> <arguments> <input bytes>   one line, then each argument on a line, then the input
// Standard output:  RESULT <status> <out bytes> <err bytes>  one line, then what the tool wrote to its two outputs
//
// The tools end with Kafka's own Exit class, which lets a test say what "exit" means. Rust starts it: judge_tools.rs.

import java.io.*;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.apache.kafka.common.utils.Exit;

public final class Tools {
    static final class Ended extends RuntimeException {
        Ended(int status) {
            super("exit " + status, null, false, false);
            if (ended == null) ended = status;
        }
    }

    /** The first status a call asked to end with: some tools catch what `exit` throws here, and exit again. */
    static Integer ended;

    /** What a tool leaves to do at the JVM's end is done at the call's end. */
    static final List<Runnable> hooks = new ArrayList<>();

    public static void main(String[] none) throws Exception {
        DataInputStream in = new DataInputStream(new BufferedInputStream(System.in));
        PrintStream answer = System.out;
        Exit.setExitProcedure((status, message) -> {
            if (message != null) System.err.println(message);
            throw new Ended(status);
        });
        Exit.setHaltProcedure((status, message) -> {
            throw new Ended(status);
        });
        Exit.setShutdownHookAdder((name, hook) -> hooks.add(hook));
        for (String line; (line = readLine(in)) != null; ) {
            String[] call = line.split(" ");
            String[] args = new String[Integer.parseInt(call[2])];
            for (int i = 0; i < args.length; i++) args[i] = readLine(in);
            byte[] input = in.readNBytes(Integer.parseInt(call[3]));
            ByteArrayOutputStream out = new ByteArrayOutputStream(), err = new ByteArrayOutputStream();
            System.setIn(new ByteArrayInputStream(input));
            System.setOut(new PrintStream(out, true));
            System.setErr(new PrintStream(err, true));
            int status = run(call[1], args);
            for (Runnable hook : hooks) {
                try {
                    hook.run();
                } catch (Ended e) {
                    // Some exit once more.
                }
            }
            hooks.clear();
            System.out.flush();
            System.err.flush();
            answer.println("RESULT " + status + " " + out.size() + " " + err.size());
            out.writeTo(answer);
            err.writeTo(answer);
            answer.flush();
        }
        Runtime.getRuntime().halt(0);
    }

    static int run(String tool, String[] args) {
        ended = null;
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) args);
            return ended == null ? 0 : ended;
        } catch (InvocationTargetException e) {
            if (ended != null) return ended;
            e.getCause().printStackTrace();
            return 70;
        } catch (Exception e) {
            e.printStackTrace();
            return 71;
        }
    }

    static String readLine(DataInputStream in) throws IOException {
        ByteArrayOutputStream line = new ByteArrayOutputStream();
        for (int b; (b = in.read()) != '\n'; line.write(b)) {
            if (b < 0) return null;
        }
        return line.toString(StandardCharsets.UTF_8);
    }
}
