import com.fasterxml.jackson.annotation.JsonInclude;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.MapperFeature;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.module.blackbird.BlackbirdModule;
import java.io.IOException;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.math.RoundingMode;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.common.serialization.Serde;
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
 * stores are in memory (as ours are), values are packed bytes, JSON is bound to classes with
 * generated accessors, identities are MD5 (an intrinsic of the JVM) and never expire, only token
 * usage is known, an output record has no header, a broken event ends the program.
 *
 * <p>Usage: UsageRating BOOTSTRAP APPLICATION INPUT OUTPUT STATE_DIR PRICES_CSV
 */
public final class UsageRating {
    private static final int EVENTS_PER_RECORD_MAX = 1_000;
    private static final int TEXT_LENGTH_MAX = 255;
    private static final int UUID_LENGTH = 36;
    private static final int COST_PLACES = 18;
    private static final long HOUR_MS = 3_600_000L;
    private static final BigDecimal CREDITS_PER_USD = BigDecimal.valueOf(1_000);
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

    /** A usage event, as it comes and as it goes out. */
    @JsonInclude(JsonInclude.Include.NON_NULL)
    public static class Event {
        @JsonProperty("event_id") public String eventId;
        @JsonProperty("customer_id") public String customerId;
        @JsonProperty("event_type") public String eventType;
        @JsonProperty("feature_id") public String featureId;
        public String timestamp;
        @JsonProperty("user_id") public String userId;
        @JsonProperty("team_id") public String teamId;
        public String provider;
        public String model;
        @JsonProperty("input_tokens") public Integer inputTokens;
        @JsonProperty("output_tokens") public Integer outputTokens;
        public JsonNode metadata;
        @JsonProperty("idempotency_key") public String idempotencyKey;
    }

    /** A raw record: one event, or many under `events`. */
    public static final class RawRecord extends Event {
        public List<Event> events;
    }

    /** The verdict on an event. */
    @JsonInclude(JsonInclude.Include.NON_NULL)
    public static final class Entry {
        public long offset;
        public int index;
        public Event event;
        public String verdict;
        public Long of;
        public Long credits;
        @JsonProperty("cost_usd") public String costUsd;
        @JsonProperty("price_ids") public List<String> priceIds;
    }

    /** A rated record. */
    public static final class RatedRecord {
        public long offset;
        @JsonProperty("broker_time") public long brokerTime;
        public List<Entry> events;
    }

    /** A price per unit, in force in [from, until). */
    private record Price(String id, BigDecimal perUnit, Instant from, Instant until) {
        boolean isInForce(Instant at) {
            return !at.isBefore(from) && (until == null || at.isBefore(until));
        }
    }

    /** What a model costs: input and output tokens. */
    private record Model(List<Price> input, List<Price> output) {}

    /** What a customer was charged in an hour: 20 bytes and the cost, in 10^-18 USD. */
    private record Total(long credits, long events, BigInteger cost) {
        static byte[] encode(Total total) {
            byte[] cost = total.cost.toByteArray();
            return ByteBuffer.allocate(16 + cost.length)
                    .putLong(total.credits)
                    .putLong(total.events)
                    .put(cost)
                    .array();
        }

        static Total decode(byte[] bytes) {
            ByteBuffer buffer = ByteBuffer.wrap(bytes);
            long credits = buffer.getLong();
            long events = buffer.getLong();
            return new Total(
                    credits, events, new BigInteger(Arrays.copyOfRange(bytes, 16, bytes.length)));
        }

        static Serde<Total> serde() {
            return Serdes.serdeFrom(
                    (topic, total) -> total == null ? null : encode(total),
                    (topic, bytes) -> bytes == null ? null : decode(bytes));
        }
    }

    private UsageRating() {}

    /** Run until the process is ended. */
    public static void main(String[] arguments) throws Exception {
        String output = arguments[3];
        Map<String, Model> models = readPrices(Path.of(arguments[5]));
        Topology topology = new Topology();
        topology.addSource(
                "raw",
                Serdes.ByteArray().deserializer(),
                Serdes.ByteArray().deserializer(),
                arguments[2]);
        topology.addProcessor("rate", () -> new Rating(models), "raw");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(
                        Stores.inMemoryKeyValueStore("seen"), Serdes.Bytes(), Serdes.Long()),
                "rate");
        topology.addStateStore(
                Stores.keyValueStoreBuilder(
                                Stores.inMemoryKeyValueStore("totals"),
                                Serdes.String(),
                                Total.serde())
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
        // As our producers have it, and batches that are worth compressing. Commits come every
        // 100 ms by default; in a trial every second took as much CPU.
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.COMPRESSION_TYPE_CONFIG), "lz4");
        settings.put(StreamsConfig.producerPrefix(ProducerConfig.BATCH_SIZE_CONFIG), 256 << 10);
        return settings;
    }

    private static Map<String, Model> readPrices(Path csv) throws IOException {
        Map<String, Model> models = new HashMap<>();
        List<String> lines = Files.readAllLines(csv);
        for (String line : lines.subList(1, lines.size())) {
            String[] fields = line.split(",", -1);
            BigDecimal perUnit =
                    new BigDecimal(fields[4])
                            .divide(new BigDecimal(fields[5]), COST_PLACES, RoundingMode.UNNECESSARY)
                            .stripTrailingZeros();
            Instant until = fields[8].isEmpty() ? null : Instant.parse(fields[8]);
            Price price = new Price(fields[0], perUnit, Instant.parse(fields[7]), until);
            Model model =
                    models.computeIfAbsent(
                            key(fields[1], fields[2]),
                            any -> new Model(new ArrayList<>(), new ArrayList<>()));
            if (fields[3].equals("INPUT_TOKEN")) {
                model.input().add(price);
            } else if (fields[3].equals("OUTPUT_TOKEN")) {
                model.output().add(price);
            }
        }
        return models;
    }

    private static String key(String provider, String model) {
        return provider + '\0' + model;
    }

    private static final class Rating implements Processor<byte[], byte[], byte[], byte[]> {
        private final Map<String, Model> models;
        private final MessageDigest digest;
        private final ObjectReader reader;
        private final ObjectWriter writer;
        private ProcessorContext<byte[], byte[]> context;
        private KeyValueStore<Bytes, Long> seen;
        private KeyValueStore<String, Total> totals;

        Rating(Map<String, Model> models) {
            this.models = models;
            JsonMapper mapper =
                    JsonMapper.builder()
                            .addModule(new BlackbirdModule())
                            .disable(MapperFeature.ALLOW_COERCION_OF_SCALARS)
                            .disable(DeserializationFeature.ACCEPT_FLOAT_AS_INT)
                            .disable(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES)
                            .build();
            reader = mapper.readerFor(RawRecord.class);
            writer = mapper.writerFor(RatedRecord.class);
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
            RawRecord raw = reader.readValue(record.value());
            List<Event> events = raw.events;
            if (events == null) {
                events = List.of(raw);
            }
            require(!events.isEmpty() && events.size() <= EVENTS_PER_RECORD_MAX, "events");
            RatedRecord rated = new RatedRecord();
            rated.offset = offset;
            rated.brokerTime = record.timestamp();
            rated.events = new ArrayList<>(events.size());
            for (int index = 0; index < events.size(); index++) {
                rated.events.add(rate(events.get(index), offset, index, record.timestamp()));
            }
            return writer.writeValueAsBytes(rated);
        }

        private Entry rate(Event event, long offset, int index, long brokerMs) {
            Instant at = validate(event);
            Bytes byId = identity('i', event.customerId, event.eventId);
            Bytes byKey =
                    event.idempotencyKey == null
                            ? null
                            : identity('k', event.customerId, event.idempotencyKey);
            Long first = seen.get(byId);
            if (first == null && byKey != null) {
                first = seen.get(byKey);
            }
            Entry entry = new Entry();
            entry.offset = offset;
            entry.index = index;
            entry.event = event instanceof RawRecord ? plain(event) : event;
            if (first != null) {
                entry.verdict = "duplicate";
                entry.of = first;
                return entry;
            }
            Long position = offset << 10 | index;
            seen.put(byId, position);
            if (byKey != null) {
                seen.put(byKey, position);
            }
            price(event, at, entry);
            count(event.customerId + '\0' + brokerMs / HOUR_MS, entry);
            return entry;
        }

        private void price(Event event, Instant at, Entry entry) {
            Model model = models.get(key(event.provider, event.model));
            require(model != null, "no price");
            entry.priceIds = new ArrayList<>(2);
            BigDecimal usd =
                    part(event.inputTokens, model.input(), at, entry.priceIds)
                            .add(part(event.outputTokens, model.output(), at, entry.priceIds));
            entry.credits =
                    usd.multiply(CREDITS_PER_USD).setScale(0, RoundingMode.CEILING).longValueExact();
            entry.verdict = "charged";
            entry.costUsd = usd.toPlainString();
        }

        private static BigDecimal part(
                Integer tokens, List<Price> prices, Instant at, List<String> ids) {
            if (tokens == null || tokens == 0) {
                return BigDecimal.ZERO;
            }
            Price latest = null;
            for (Price price : prices) {
                boolean isLater = latest == null || price.from().isAfter(latest.from());
                if (isLater && price.isInForce(at)) {
                    latest = price;
                }
            }
            require(latest != null, "no price");
            ids.add(latest.id());
            return latest.perUnit().multiply(BigDecimal.valueOf(tokens));
        }

        private void count(String customerHour, Entry entry) {
            BigInteger cost = new BigDecimal(entry.costUsd).setScale(COST_PLACES).unscaledValue();
            Total before = totals.get(customerHour);
            totals.put(
                    customerHour,
                    before == null
                            ? new Total(entry.credits, 1, cost)
                            : new Total(
                                    before.credits() + entry.credits,
                                    before.events() + 1,
                                    before.cost().add(cost)));
        }

        private Bytes identity(char kind, String customer, String text) {
            byte[] customerBytes = customer.getBytes(StandardCharsets.UTF_8);
            digest.update((byte) kind);
            digest.update((byte) (customerBytes.length >> 8));
            digest.update((byte) customerBytes.length);
            digest.update(customerBytes);
            digest.update(text.getBytes(StandardCharsets.UTF_8));
            return Bytes.wrap(digest.digest());
        }
    }

    /** Return the event of a record that holds one alone, without the field for many. */
    private static Event plain(Event raw) {
        Event event = new Event();
        event.eventId = raw.eventId;
        event.customerId = raw.customerId;
        event.eventType = raw.eventType;
        event.featureId = raw.featureId;
        event.timestamp = raw.timestamp;
        event.userId = raw.userId;
        event.teamId = raw.teamId;
        event.provider = raw.provider;
        event.model = raw.model;
        event.inputTokens = raw.inputTokens;
        event.outputTokens = raw.outputTokens;
        event.metadata = raw.metadata;
        event.idempotencyKey = raw.idempotencyKey;
        return event;
    }

    /** Check what an event of token usage must be, and return its time. */
    private static Instant validate(Event event) {
        event.eventId = uuid(event.eventId);
        require(event.customerId != null && !event.customerId.isEmpty(), "customer_id");
        text(event.customerId, "customer_id");
        require("TOKEN_USAGE".equals(event.eventType), "event_type");
        require(event.featureId != null, "feature_id");
        text(event.featureId, "feature_id");
        require(event.provider != null && PROVIDERS.contains(event.provider), "provider");
        require(event.model != null, "model");
        text(event.model, "model");
        text(event.userId, "user_id");
        text(event.teamId, "team_id");
        text(event.idempotencyKey, "idempotency_key");
        require(event.inputTokens == null || event.inputTokens >= 0, "input_tokens");
        require(event.outputTokens == null || event.outputTokens >= 0, "output_tokens");
        require(event.metadata == null || event.metadata.isObject(), "metadata");
        require(event.timestamp != null, "timestamp");
        return Instant.parse(event.timestamp);
    }

    /** Return a UUID in lower case. */
    private static String uuid(String text) {
        require(text != null && text.length() == UUID_LENGTH, "event_id");
        boolean isLower = true;
        for (int at = 0; at < UUID_LENGTH; at++) {
            char one = text.charAt(at);
            if (at == 8 || at == 13 || at == 18 || at == 23) {
                require(one == '-', "event_id");
            } else {
                boolean isUpper = one >= 'A' && one <= 'F';
                isLower &= !isUpper;
                boolean isDigit = one >= '0' && one <= '9';
                require(isDigit || isUpper || (one >= 'a' && one <= 'f'), "event_id");
            }
        }
        return isLower ? text : text.toLowerCase();
    }

    private static void text(String value, String field) {
        if (value != null) {
            require(value.length() <= TEXT_LENGTH_MAX && value.indexOf('\0') < 0, field);
        }
    }

    private static void require(boolean isTrue, String field) {
        if (!isTrue) {
            throw new IllegalArgumentException(field);
        }
    }
}
