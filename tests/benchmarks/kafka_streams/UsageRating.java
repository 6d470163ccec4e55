import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.math.BigDecimal;
import java.math.RoundingMode;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Pattern;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * The work of the stream stage, written for Kafka Streams with exactly-once v2, as a baseline.
 *
 * <p>Each record is validated, its two identities are looked up and remembered in a store with a
 * changelog, it is priced exactly at the price in force at its own time, totals per customer and
 * hour are kept, and a rated record is written. Where there was a choice the cheaper one was taken:
 * identities are MD5 (an intrinsic of the JVM) and never expire, only token usage is known, an
 * output record has no header, a broken event ends the program.
 *
 * <p>Usage: UsageRating BOOTSTRAP APPLICATION INPUT OUTPUT STATE_DIR PRICES_CSV
 */
public final class UsageRating {
    private static final int EVENTS_PER_RECORD_MAX = 1_000;
    private static final int TEXT_LENGTH_MAX = 255;
    private static final long TOKENS_MAX = Integer.MAX_VALUE;
    private static final long HOUR_MS = 3_600_000L;
    private static final BigDecimal CREDITS_PER_USD = BigDecimal.valueOf(1_000);
    private static final Pattern UUID =
            Pattern.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}");
    private static final Set<String> PROVIDERS =
            Set.of(
                    "OPENAI",
                    "ANTHROPIC",
                    "GOOGLE",
                    "COHERE",
                    "MISTRAL",
                    "STABILITY_AI",
                    "RUNWAY",
                    "REPLICATE",
                    "AMAZON",
                    "BLACK_FOREST_LABS");

    /** A price per unit, in force in [from, until). */
    private record Price(String id, BigDecimal perUnit, Instant from, Instant until) {
        boolean isInForce(Instant at) {
            return !at.isBefore(from) && (until == null || at.isBefore(until));
        }
    }

    /** What an event costs. */
    private record Cost(long credits, BigDecimal usd, List<String> priceIds) {}

    private UsageRating() {}

    /** Run until the process is ended. */
    public static void main(String[] arguments) throws Exception {
        String output = arguments[3];
        Map<String, List<Price>> prices = readPrices(Path.of(arguments[5]));
        Topology topology = new Topology();
        topology.addSource(
                "raw",
                Serdes.ByteArray().deserializer(),
                Serdes.ByteArray().deserializer(),
                arguments[2]);
        topology.addProcessor("rate", () -> new Rating(prices), "raw");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(
                        Stores.persistentKeyValueStore("seen"), Serdes.Bytes(), Serdes.Long()),
                "rate");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(
                                Stores.persistentKeyValueStore("totals"),
                                Serdes.String(),
                                Serdes.String())
                        .withCachingEnabled(),
                "rate");
        topology.addSink(
                "rated",
                output,
                Serdes.ByteArray().serializer(),
                Serdes.ByteArray().serializer(),
                "rate");
        KafkaStreams streams = new KafkaStreams(topology, settings(arguments));
        CountDownLatch ended = new CountDownLatch(1);
        streams.setUncaughtExceptionHandler(
                error -> {
                    error.printStackTrace();
                    Runtime.getRuntime().halt(70);
                    return null;
                });
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        ended.await();
    }

    private static Properties settings(String[] arguments) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, arguments[0]);
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, arguments[1]);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, arguments[4]);
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");
        return settings;
    }

    private static Map<String, List<Price>> readPrices(Path csv) throws IOException {
        Map<String, List<Price>> prices = new HashMap<>();
        List<String> lines = Files.readAllLines(csv);
        for (String line : lines.subList(1, lines.size())) {
            String[] fields = line.split(",", -1);
            BigDecimal perUnit =
                    new BigDecimal(fields[4])
                            .divide(new BigDecimal(fields[5]), 18, RoundingMode.UNNECESSARY);
            Instant until = fields[8].isEmpty() ? null : Instant.parse(fields[8]);
            prices.computeIfAbsent(key(fields[1], fields[2], fields[3]), any -> new ArrayList<>())
                    .add(new Price(fields[0], perUnit, Instant.parse(fields[7]), until));
        }
        return prices;
    }

    private static String key(String provider, String model, String costType) {
        return provider + '\0' + model + '\0' + costType;
    }

    private static final class Rating implements Processor<byte[], byte[], byte[], byte[]> {
        private final ObjectMapper json = new ObjectMapper();
        private final Map<String, List<Price>> prices;
        private final MessageDigest digest;
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<Bytes, Long> seen;
        private KeyValueStore<String, String> totals;

        Rating(Map<String, List<Price>> prices) {
            this.prices = prices;
            try {
                digest = MessageDigest.getInstance("MD5");
            } catch (NoSuchAlgorithmException error) {
                throw new IllegalStateException(error);
            }
        }

        @Override
        public void init(ProcessorContext<byte[], byte[]> context) {
            this.context = context;
            seen = context.getStateStore("seen");
            totals = context.getStateStore("totals");
        }

        @Override
        public void process(Record<byte[], byte[]> record) {
            try {
                context.forward(record.withValue(rate(record)));
            } catch (IOException error) {
                throw new IllegalArgumentException(error);
            }
        }

        private byte[] rate(Record<byte[], byte[]> record) throws IOException {
            long offset = context.recordMetadata().orElseThrow().offset();
            JsonNode value = json.readTree(record.value());
            JsonNode events = value.get("events");
            ObjectNode rated = json.createObjectNode();
            rated.put("offset", offset);
            rated.put("broker_time", record.timestamp());
            ArrayNode entries = rated.putArray("events");
            if (events == null) {
                entries.add(rate(value, offset, 0, record.timestamp()));
            } else {
                require(events.isArray() && events.size() <= EVENTS_PER_RECORD_MAX, "events");
                for (int index = 0; index < events.size(); index++) {
                    entries.add(rate(events.get(index), offset, index, record.timestamp()));
                }
            }
            return json.writeValueAsBytes(rated);
        }

        private ObjectNode rate(JsonNode event, long offset, int index, long brokerMs) {
            Instant at = validate(event);
            String customer = event.get("customer_id").textValue();
            Bytes byId = identity('i', customer, event.get("event_id").textValue().toLowerCase());
            JsonNode key = event.get("idempotency_key");
            Bytes byKey = key == null ? null : identity('k', customer, key.textValue());
            Long first = seen.get(byId);
            if (first == null && byKey != null) {
                first = seen.get(byKey);
            }
            ObjectNode entry = json.createObjectNode();
            entry.put("offset", offset);
            entry.put("index", index);
            entry.set("event", event);
            if (first != null) {
                entry.put("verdict", "duplicate");
                entry.put("of", first);
                return entry;
            }
            long position = offset << 16 | index;
            seen.put(byId, position);
            if (byKey != null) {
                seen.put(byKey, position);
            }
            Cost cost = cost(event, at);
            entry.put("verdict", "charged");
            entry.put("credits", cost.credits());
            entry.put("cost_usd", cost.usd().toPlainString());
            ArrayNode ids = entry.putArray("price_ids");
            cost.priceIds().forEach(ids::add);
            count(customer + '\0' + brokerMs / HOUR_MS, cost);
            return entry;
        }

        private Cost cost(JsonNode event, Instant at) {
            BigDecimal usd = BigDecimal.ZERO;
            List<String> ids = new ArrayList<>(2);
            for (String[] part : PARTS) {
                JsonNode amount = event.get(part[0]);
                if (amount == null || amount.longValue() == 0) {
                    continue;
                }
                Price price = price(event, part[1], at);
                usd = usd.add(price.perUnit().multiply(BigDecimal.valueOf(amount.longValue())));
                ids.add(price.id());
            }
            long credits =
                    usd.multiply(CREDITS_PER_USD)
                            .setScale(0, RoundingMode.CEILING)
                            .longValueExact();
            return new Cost(credits, usd.setScale(18, RoundingMode.HALF_EVEN), ids);
        }

        private Price price(JsonNode event, String costType, Instant at) {
            String provider = event.get("provider").textValue();
            String model = event.get("model").textValue();
            Price latest = null;
            for (Price price : prices.getOrDefault(key(provider, model, costType), List.of())) {
                boolean isLater = latest == null || price.from().isAfter(latest.from());
                if (isLater && price.isInForce(at)) {
                    latest = price;
                }
            }
            require(latest != null, "no price");
            return latest;
        }

        private void count(String customerHour, Cost cost) {
            String before = totals.get(customerHour);
            if (before == null) {
                totals.put(customerHour, cost.credits() + " " + cost.usd() + " 1");
                return;
            }
            String[] sums = before.split(" ");
            long credits = Long.parseLong(sums[0]) + cost.credits();
            BigDecimal usd = new BigDecimal(sums[1]).add(cost.usd());
            totals.put(customerHour, credits + " " + usd + " " + (Long.parseLong(sums[2]) + 1));
        }

        private Bytes identity(char kind, String customer, String text) {
            byte[] customerBytes = customer.getBytes(StandardCharsets.UTF_8);
            digest.update((byte) kind);
            digest.update(ByteBuffer.allocate(4).putInt(customerBytes.length).array());
            digest.update(customerBytes);
            digest.update(text.getBytes(StandardCharsets.UTF_8));
            return Bytes.wrap(digest.digest());
        }
    }

    private static final String[][] PARTS = {
        {"input_tokens", "INPUT_TOKEN"}, {"output_tokens", "OUTPUT_TOKEN"}
    };

    /** Check what an event of token usage must be, and return its time. */
    private static Instant validate(JsonNode event) {
        require(event.isObject(), "event");
        require(UUID.matcher(text(event, "event_id", true)).matches(), "event_id");
        require(!text(event, "customer_id", true).isEmpty(), "customer_id");
        require(text(event, "event_type", true).equals("TOKEN_USAGE"), "event_type");
        text(event, "feature_id", true);
        require(PROVIDERS.contains(text(event, "provider", true)), "provider");
        text(event, "model", true);
        text(event, "user_id", false);
        text(event, "team_id", false);
        text(event, "idempotency_key", false);
        for (String[] part : PARTS) {
            JsonNode count = event.get(part[0]);
            require(
                    count == null
                            || count.isIntegralNumber()
                                    && count.canConvertToLong()
                                    && count.longValue() >= 0
                                    && count.longValue() <= TOKENS_MAX,
                    part[0]);
        }
        JsonNode metadata = event.get("metadata");
        require(metadata == null || metadata.isObject(), "metadata");
        return Instant.parse(text(event, "timestamp", true));
    }

    private static String text(JsonNode event, String field, boolean isRequired) {
        JsonNode value = event.get(field);
        if (value == null) {
            require(!isRequired, field);
            return "";
        }
        require(value.isTextual(), field);
        String text = value.textValue();
        require(text.length() <= TEXT_LENGTH_MAX && text.indexOf('\0') < 0, field);
        return text;
    }

    private static void require(boolean isTrue, String field) {
        if (!isTrue) {
            throw new IllegalArgumentException(field);
        }
    }
}
